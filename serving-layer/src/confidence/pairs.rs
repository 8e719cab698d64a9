//! What JSON can not say plainly: maps whose keys are not text (as lists of pairs), and undefined values (as null).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.iter())
}

pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
}

/// Values of all aggregates: not a number is written as null, and read back.
pub(crate) mod values {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::evidence::AGGREGATES;

    pub(crate) fn serialize<S: Serializer>(values: &[f64; AGGREGATES], serializer: S) -> Result<S::Ok, S::Error> {
        values.map(|v| v.is_finite().then_some(v)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; AGGREGATES], D::Error> {
        let read = <[Option<f64>; AGGREGATES]>::deserialize(deserializer)?;
        Ok(read.map(|v| v.unwrap_or(f64::NAN)))
    }
}
