//! Open multipart uploads.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checksum::{ChecksumAlgorithm, ChecksumType};
use super::content::{Content, mix};
use super::object::{Metadata, Settings, Tags, Timestamp};

/// An upload between its creation and its completion.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) initiated: Timestamp,
    /// The ARN of who created it.
    pub(crate) initiator: String,
    /// The account that will own the object.
    pub(crate) owner: Arc<str>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) tags: Arc<Tags>,
    pub(crate) settings: Arc<Settings>,
    /// The algorithm that was asked for, with its type.
    pub(crate) checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub(crate) parts: BTreeMap<u32, Part>,
}

impl Upload {
    /// The algorithm that the object will have: S3 adds CRC64NVME when none was asked for.
    pub(crate) fn algorithm(&self) -> (ChecksumAlgorithm, ChecksumType) {
        self.checksum
            .unwrap_or((ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject))
    }
}

/// A part.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) content: Arc<Content>,
    pub(crate) modified: Timestamp,
}

/// Shows an upload's number as S3 shows upload IDs: long, without a meaning.
pub(crate) fn upload_id(number: u64) -> String {
    format!(
        "{:016x}{:016x}{:016x}",
        mix(number ^ 1),
        mix(number ^ 2),
        number ^ 0x7E51_03D8_42AC_99B6
    )
}

/// The number of an upload ID, if this store could have given it.
pub(crate) fn parse_upload_id(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text.get(32..)?, 16).ok()? ^ 0x7E51_03D8_42AC_99B6;
    (upload_id(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_ids_are_read_back() {
        for number in [1, 9, 1 << 40] {
            assert_eq!(parse_upload_id(&upload_id(number)), Some(number));
        }
        assert_eq!(parse_upload_id("nonsense"), None);
        assert_eq!(parse_upload_id(&"0".repeat(48)), None);
    }
}
