//! S3's checksums of parts.

/// A checksum algorithm of S3.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32C,
    /// CRC-64/NVME, S3's default.
    Crc64Nvme,
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// 64-bit xxHash.
    Xxhash64,
    /// 64-bit XXH3.
    Xxhash3,
    /// 128-bit XXH3.
    Xxhash128,
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32C,
        Self::Crc64Nvme,
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Xxhash64,
        Self::Xxhash3,
        Self::Xxhash128,
    ];

    /// S3's name of it, as in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32C => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Xxhash64 => "XXHASH64",
            Self::Xxhash3 => "XXHASH3",
            Self::Xxhash128 => "XXHASH128",
        }
    }

    /// The algorithm of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

/// A part's checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartChecksum {
    /// The upload's algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// In base64.
    pub value: String,
}

/// The checksum of whatever the SDK keeps ten checksums in.
macro_rules! checksum_of {
    ($part:expr) => {{
        let part = $part;
        let found = [
            (ChecksumAlgorithm::Crc32, part.checksum_crc32()),
            (ChecksumAlgorithm::Crc32C, part.checksum_crc32_c()),
            (ChecksumAlgorithm::Crc64Nvme, part.checksum_crc64_nvme()),
            (ChecksumAlgorithm::Md5, part.checksum_md5()),
            (ChecksumAlgorithm::Sha1, part.checksum_sha1()),
            (ChecksumAlgorithm::Sha256, part.checksum_sha256()),
            (ChecksumAlgorithm::Sha512, part.checksum_sha512()),
            (ChecksumAlgorithm::Xxhash64, part.checksum_xxhash64()),
            (ChecksumAlgorithm::Xxhash3, part.checksum_xxhash3()),
            (ChecksumAlgorithm::Xxhash128, part.checksum_xxhash128()),
        ];
        found.into_iter().find_map(|(algorithm, value)| {
            value.map(|value| PartChecksum {
                algorithm,
                value: value.to_owned(),
            })
        })
    }};
}

pub(crate) use checksum_of;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_by_name() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(
                ChecksumAlgorithm::from_name(&algorithm.name().to_lowercase()),
                Some(algorithm)
            );
        }
        assert_eq!(ChecksumAlgorithm::from_name("CRC"), None);
    }
}
