//! What a certificate is called in the audit log: the common name of its subject, and the start of its fingerprint, by
//! which two of one name are told apart.
//!
//! Owns finding the name in the DER of a certificate that was verified before (RFC 5280, section 4.1). Whatever stands
//! there, nothing panics.

use sha2::{Digest as _, Sha256};

/// Tags of DER.
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
/// The kind of name that is the common one: 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// So many characters of a name are told.
const NAME_CHARS: usize = 64;
/// Bytes of the fingerprint (SHA-256) that are told.
const FINGERPRINT_BYTES: usize = 8;

/// Such as `certificate "press-7" 1f2e3d4c5b6a7988`.
pub(super) fn name(certificate: &[u8]) -> String {
    let common: String = common_name(certificate).unwrap_or_default().chars().take(NAME_CHARS).collect();
    let digest = Sha256::digest(certificate);
    let start: String = digest.iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("certificate {common:?} {start}")
}

/// The common name of the subject; `None` where it has none.
fn common_name(certificate: &[u8]) -> Option<String> {
    let mut certificate = Der(certificate);
    let mut signed = Der(Der(certificate.next_of(SEQUENCE)?).next_of(SEQUENCE)?);
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    signed.next_of(INTEGER)?;
    // Algorithm, issuer, validity.
    for _ in 0..3 {
        signed.next_of(SEQUENCE)?;
    }
    let mut subject = Der(signed.next_of(SEQUENCE)?);
    while let Some(names) = subject.next_of(SET) {
        let mut names = Der(names);
        while let Some(pair) = names.next_of(SEQUENCE) {
            let mut pair = Der(pair);
            if pair.next_of(OID)? == COMMON_NAME {
                return Some(String::from_utf8_lossy(pair.next()?.1).into_owned());
            }
        }
    }
    None
}

/// Values of DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value and its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, short], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            // So many bytes of length follow; three are 16 MiB.
            0x81..=0x83 => {
                let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The next value, if it has this tag.
    fn next_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let length = value.len();
        let head =
            if length < 0x80 { vec![tag, length as u8] } else { vec![tag, 0x82, (length >> 8) as u8, length as u8] };
        [head, value].concat()
    }

    /// A certificate of this subject, without what stands behind it.
    fn certificate(version: bool, subject: &[(&[u8], &str)]) -> Vec<u8> {
        let names: Vec<Vec<u8>> = subject
            .iter()
            .map(|(kind, name)| der(SET, &[&der(SEQUENCE, &[&der(OID, &[kind]), &der(0x0c, &[name.as_bytes()])])]))
            .collect();
        let version = if version { der(VERSION, &[&der(INTEGER, &[&[2]])]) } else { Vec::new() };
        let filled = der(SEQUENCE, &[&[0; 300]]);
        let serial = der(INTEGER, &[&[1]]);
        let signed = der(SEQUENCE, &[&version, &serial, &filled, &filled, &filled, &der(SEQUENCE, &[&names.concat()])]);
        der(SEQUENCE, &[&signed])
    }

    #[test]
    fn the_common_name_of_the_subject_is_found() {
        let organisation: &[u8] = &[0x55, 0x04, 0x0a];
        for (certificate, expected) in [
            (certificate(true, &[(COMMON_NAME, "press-7")]), Some("press-7")),
            (certificate(false, &[(organisation, "crew"), (COMMON_NAME, "press 7")]), Some("press 7")),
            (certificate(true, &[(organisation, "crew")]), None),
            (certificate(true, &[]), None),
            (Vec::new(), None),
        ] {
            assert_eq!(common_name(&certificate).as_deref(), expected);
        }
        let told = name(&certificate(true, &[(COMMON_NAME, "a\n\" token \"b")]));
        assert!(told.starts_with(r#"certificate "a\n\" token \"b" "#), "no name reads like another: {told}");
        assert!(name(&certificate(true, &[(COMMON_NAME, &"x".repeat(1000))])).len() < 100);
    }

    #[test]
    fn what_is_cut_or_altered_is_no_reason_to_panic() {
        let whole = certificate(true, &[(COMMON_NAME, "press-7")]);
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), None, "{end}");
        }
        for i in 0..whole.len() {
            for bit in 0..8 {
                let mut altered = whole.clone();
                altered[i] ^= 1 << bit;
                name(&altered);
            }
        }
    }
}
