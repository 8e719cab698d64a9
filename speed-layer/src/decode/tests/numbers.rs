use crate::decode::number;

#[test]
fn short_decimals_equal_the_standard_parser() {
    for text in [
        "0",
        "-0",
        "1",
        "1.",
        ".5",
        "-.5",
        "0.1",
        "0.3",
        "123456789012345",
        "1234567.89012345",
        "9007199254740993",
        "-2.675",
        "00.1",
        "1e5",
    ] {
        let expected: f64 = text.parse().expect(text);
        assert_eq!(number::value(text).expect(text).to_bits(), expected.to_bits(), "{text}");
    }
    let mut seed = super::random::Random(7);
    for _ in 0..20_000 {
        let text = format!(
            "{}{}.{}",
            if seed.below(2) == 0 { "" } else { "-" },
            seed.below(1_000_000_000),
            seed.below(1_000_000)
        );
        let expected: f64 = text.parse().expect("a decimal");
        assert_eq!(number::value(&text).expect("a decimal").to_bits(), expected.to_bits(), "{text}");
    }
    for text in ["", "-", ".", "-.", "1.2.3", "1-", "0x10", "1_000", " 1", "१"] {
        assert!(number::value(text).is_err(), "{text:?}");
    }
}

#[test]
fn odd_numeric_instants() {
    for (text, nanos) in [
        ("0.0000000000001", Some(0)),
        ("-0.0000000000001", Some(-1)),
        ("1e-99999999999999999999", Some(0)),
        ("0e99999999999999999999", Some(0)),
        ("1e99999999999999999999", None),
        ("12345678901234567890123456789012345678901234567890.5", None),
        ("1.00000000000000000000000000000000000000000000000001", Some(1_000_000)),
        ("+1", Some(1_000_000)),
        ("1.", Some(1_000_000)),
        ("17e-1", Some(1_700_000)),
        ("9223372036854.775807", Some(i64::MAX)),
        ("9223372036854.775808", None),
        ("-9223372036854.775808", Some(i64::MIN)),
    ] {
        assert_eq!(number::instant(text, &super::OPTIONS).ok(), nanos, "{text}");
    }
    for text in ["1e", "e1", ".", "-", "1.5.5", "--1", "1e+-1"] {
        assert!(number::instant(text, &super::OPTIONS).is_err(), "{text}");
    }
}
