//! Entries as administrative tools read and write them.

use serde::{Deserialize, Serialize};

/// An entry with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value; Base64 in JSON.
    #[serde(with = "base64_text")]
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since 1970; None if never.
    pub expires: Option<u64>,
}

impl Entry {
    /// Bytes that it counts towards its namespace's quota.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        crate::footprint(self.key.len(), self.value.len())
    }
}

/// Position of a walk over the entries of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(pub(super) Position);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Position {
    /// The next shard.
    Memory(usize),
    /// The next key, as the file has it.
    File(Vec<u8>),
    /// The slot, and the cursor that SCAN returned there.
    Redis((usize, u64)),
}

mod base64_text {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
