//! What an object holds: bytes, or a rule that makes them.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};

use super::checksum::ChecksumAlgorithm;

/// The size up to which declared content has its true digests: 16 MiB.
///
/// Above it a digest is that of a description of the extents, which is the same for equal extents
/// and says nothing about the bytes.
pub const TRUE_DIGEST_BYTES: u64 = 16 * 1024 * 1024;

const CHUNK_BYTES: u64 = 256 * 1024;

/// A run of an object's bytes.
#[derive(Clone, Debug)]
pub(crate) enum Extent {
    /// Bytes that a client sent.
    Stored(Bytes),
    /// Bytes `offset..offset + length` of the endless stream that `seed` makes.
    Declared { seed: u64, offset: u64, length: u64 },
}

impl Extent {
    fn length(&self) -> u64 {
        match self {
            Self::Stored(bytes) => bytes.len() as u64,
            Self::Declared { length, .. } => *length,
        }
    }

    fn slice(&self, start: u64, end: u64) -> Self {
        match self {
            Self::Stored(bytes) => Self::Stored(bytes.slice(index(start)..index(end))),
            Self::Declared { seed, offset, .. } => Self::Declared {
                seed: *seed,
                offset: offset + start,
                length: end - start,
            },
        }
    }

    fn bytes(&self) -> Bytes {
        match self {
            Self::Stored(bytes) => bytes.clone(),
            Self::Declared {
                seed,
                offset,
                length,
            } => declared_bytes(*seed, *offset, *length),
        }
    }
}

/// An object's or a part's content; copies share it.
#[derive(Debug)]
pub(crate) struct Content {
    extents: Box<[Extent]>,
    size: u64,
    md5: OnceLock<[u8; 16]>,
    crc64: OnceLock<[u8; 8]>,
}

impl Content {
    pub(crate) fn stored(bytes: Bytes) -> Self {
        Self::of(vec![Extent::Stored(bytes)])
    }

    pub(crate) fn declared(seed: u64, size: u64) -> Self {
        Self::of(vec![Extent::Declared {
            seed,
            offset: 0,
            length: size,
        }])
    }

    /// Joins contents in their order; adjacent declared extents of one stream become one.
    pub(crate) fn concat<'a>(contents: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::of(
            contents
                .into_iter()
                .flat_map(|content| content.extents.iter().cloned())
                .collect(),
        )
    }

    fn of(extents: Vec<Extent>) -> Self {
        let mut merged: Vec<Extent> = Vec::with_capacity(extents.len());
        for extent in extents.into_iter().filter(|extent| extent.length() > 0) {
            if let (
                Some(Extent::Declared {
                    seed,
                    offset,
                    length,
                }),
                Extent::Declared {
                    seed: next_seed,
                    offset: next_offset,
                    length: next_length,
                },
            ) = (merged.last_mut(), &extent)
                && seed == next_seed
                && *offset + *length == *next_offset
            {
                *length += next_length;
                continue;
            }
            merged.push(extent);
        }
        let size = merged.iter().map(Extent::length).sum();
        Self {
            extents: merged.into_boxed_slice(),
            size,
            md5: OnceLock::new(),
            crc64: OnceLock::new(),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The content of a range, which must lie within the size.
    pub(crate) fn slice(&self, range: &Range<u64>) -> Self {
        let mut extents = Vec::new();
        let mut start = 0;
        for extent in &self.extents {
            let end = start + extent.length();
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                extents.push(extent.slice(from - start, to - start));
            }
            start = end;
        }
        Self::of(extents)
    }

    /// The bytes from `offset` on: some of them, none at the end.
    pub(crate) fn chunk(&self, offset: u64, limit: u64) -> Bytes {
        let mut start = 0;
        for extent in &self.extents {
            let end = start + extent.length();
            if offset < end {
                let to = end.min(offset.saturating_add(limit.min(CHUNK_BYTES)));
                return extent.slice(offset - start, to - start).bytes();
            }
            start = end;
        }
        Bytes::new()
    }

    /// All bytes, in memory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        self.for_each_chunk(|chunk| all.extend_from_slice(chunk));
        all
    }

    fn for_each_chunk(&self, mut take: impl FnMut(&[u8])) {
        let mut offset = 0;
        while offset < self.size {
            let chunk = self.chunk(offset, CHUNK_BYTES);
            offset += chunk.len() as u64;
            take(&chunk);
        }
    }

    /// Whether both hold the same bytes, however they are cut into extents.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        if self.size != other.size {
            return false;
        }
        let (mut left, mut right) = (Cursor::new(self), Cursor::new(other));
        while let (Some(a), Some(b)) = (left.rest(), right.rest()) {
            let length = a.length().min(b.length());
            let (a, b) = (a.slice(0, length), b.slice(0, length));
            let step = if same_stream(&a, &b) {
                length
            } else {
                length.min(CHUNK_BYTES)
            };
            if !same_stream(&a, &b) && a.slice(0, step).bytes() != b.slice(0, step).bytes() {
                return false;
            }
            left.advance(step);
            right.advance(step);
        }
        true
    }

    /// The MD5; see [`TRUE_DIGEST_BYTES`].
    pub(crate) fn md5(&self) -> [u8; 16] {
        *self.md5.get_or_init(|| self.digest_with(Md5::new()))
    }

    /// The full-object checksum; see [`TRUE_DIGEST_BYTES`].
    pub(crate) fn checksum(&self, algorithm: ChecksumAlgorithm) -> Vec<u8> {
        match algorithm {
            ChecksumAlgorithm::Crc64Nvme => self
                .crc64
                .get_or_init(|| self.digest_with(Crc64Nvme::new()))
                .to_vec(),
            ChecksumAlgorithm::Crc32 => self.digest_with(Crc32::new()).to_vec(),
            ChecksumAlgorithm::Crc32c => self.digest_with(Crc32c::new()).to_vec(),
            ChecksumAlgorithm::Sha1 => self.digest_with(Sha1::new()).to_vec(),
            ChecksumAlgorithm::Sha256 => self.digest_with(Sha256::new()).to_vec(),
        }
    }

    /// Whether the digests are those of the bytes.
    pub(crate) fn has_true_digests(&self) -> bool {
        self.size <= TRUE_DIGEST_BYTES
            || self
                .extents
                .iter()
                .all(|extent| matches!(extent, Extent::Stored(_)))
    }

    fn digest_with<H: s3s::crypto::Checksum>(&self, mut hasher: H) -> H::Output {
        if self.has_true_digests() {
            self.for_each_chunk(|chunk| hasher.update(chunk));
        } else {
            hasher.update(self.description().as_bytes());
        }
        hasher.finalize()
    }

    /// The extents as text: one line for each declared extent and each longest run of stored bytes.
    fn description(&self) -> String {
        use std::fmt::Write as _;

        let mut text = String::new();
        let mut run: Option<(u64, Md5)> = None;
        let close = |text: &mut String, run: &mut Option<(u64, Md5)>| {
            if let Some((length, md5)) = run.take() {
                let _ = writeln!(
                    text,
                    "stored {length} {}",
                    super::checksum::hex(&md5.finalize())
                );
            }
        };
        for extent in &self.extents {
            match extent {
                Extent::Stored(bytes) => {
                    let (length, md5) = run.get_or_insert_with(|| (0, Md5::new()));
                    *length += bytes.len() as u64;
                    md5.update(bytes);
                }
                Extent::Declared {
                    seed,
                    offset,
                    length,
                } => {
                    close(&mut text, &mut run);
                    let _ = writeln!(text, "declared {seed} {offset} {length}");
                }
            }
        }
        close(&mut text, &mut run);
        text
    }
}

/// A place in a content's extents.
struct Cursor<'a> {
    extents: std::slice::Iter<'a, Extent>,
    extent: Option<&'a Extent>,
    offset: u64,
}

impl<'a> Cursor<'a> {
    fn new(content: &'a Content) -> Self {
        let mut extents = content.extents.iter();
        let extent = extents.next();
        Self {
            extents,
            extent,
            offset: 0,
        }
    }

    fn rest(&self) -> Option<Extent> {
        self.extent
            .map(|extent| extent.slice(self.offset, extent.length()))
    }

    fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
        if self
            .extent
            .is_some_and(|extent| self.offset == extent.length())
        {
            self.extent = self.extents.next();
            self.offset = 0;
        }
    }
}

fn same_stream(a: &Extent, b: &Extent) -> bool {
    match (a, b) {
        (
            Extent::Declared { seed, offset, .. },
            Extent::Declared {
                seed: other_seed,
                offset: other,
                ..
            },
        ) => seed == other_seed && offset == other,
        _ => false,
    }
}

/// Bytes `offset..offset + length` of the stream of `seed`: the n-th eight bytes are a mix of seed and n.
fn declared_bytes(seed: u64, offset: u64, length: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(index(length) + 16);
    let first = offset / 8;
    for word in first..(offset + length).div_ceil(8) {
        bytes
            .extend_from_slice(&mix(seed ^ word.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes());
    }
    let skip = offset - first * 8;
    Bytes::from(bytes).slice(index(skip)..index(skip + length))
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an index into bytes in memory; usize is 64 bits wide here"
)]
fn index(value: u64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    #[test]
    fn slices_of_declared_content_join_to_the_same_extents() {
        let whole = Content::declared(7, 50 * GIB);
        let parts: Vec<Content> = (0..10)
            .map(|part| whole.slice(&(part * 5 * GIB..(part + 1) * 5 * GIB)))
            .collect();
        let joined = Content::concat(&parts);
        assert_eq!(joined.extents.len(), 1);
        assert!(joined.same_as(&whole));
        assert_eq!(joined.md5(), whole.md5());
    }

    #[test]
    fn parts_in_the_wrong_order_are_another_content() {
        let whole = Content::declared(7, 20 * GIB);
        let (first, second) = (
            whole.slice(&(0..10 * GIB)),
            whole.slice(&(10 * GIB..20 * GIB)),
        );
        let swapped = Content::concat([&second, &first]);
        assert!(!swapped.same_as(&whole));
        assert_ne!(swapped.md5(), whole.md5());
    }

    #[test]
    fn declared_bytes_do_not_depend_on_where_a_read_starts() {
        let all = declared_bytes(3, 0, 100);
        for start in 0..100_u64 {
            for end in start..=100 {
                assert_eq!(
                    declared_bytes(3, start, end - start),
                    all.slice(index(start)..index(end))
                );
            }
        }
    }

    #[test]
    fn stored_and_declared_content_with_the_same_bytes_are_the_same() {
        let declared = Content::declared(11, 700_001);
        let bytes = Bytes::from(declared.bytes());
        let stored = Content::concat([
            &Content::stored(bytes.slice(..300_000)),
            &Content::stored(bytes.slice(300_000..)),
        ]);
        assert!(stored.same_as(&declared));
        assert!(declared.same_as(&stored));
        assert_eq!(stored.md5(), declared.md5());
        assert_eq!(
            stored.checksum(ChecksumAlgorithm::Crc64Nvme),
            declared.checksum(ChecksumAlgorithm::Crc64Nvme)
        );
        let mut other = bytes.to_vec();
        other[650_000] ^= 1;
        assert!(!Content::stored(other.into()).same_as(&declared));
    }

    #[test]
    fn the_digest_of_a_large_declared_object_does_not_depend_on_how_stored_bytes_are_cut() {
        let declared = Content::declared(1, 2 * TRUE_DIGEST_BYTES);
        let one = Content::concat([&Content::stored(Bytes::from_static(b"abcdef")), &declared]);
        let two = Content::concat([
            &Content::stored(Bytes::from_static(b"abc")),
            &Content::stored(Bytes::from_static(b"def")),
            &declared,
        ]);
        assert_eq!(one.md5(), two.md5());
        assert!(!one.has_true_digests());
    }

    #[test]
    fn true_md5_of_small_content() {
        assert_eq!(
            super::super::checksum::hex(&Content::stored(Bytes::new()).md5()),
            "d41d8cd98f00b204e9800998ecf8427e"
        );
        assert_eq!(
            super::super::checksum::hex(&Content::stored(Bytes::from_static(b"hello")).md5()),
            "5d41402abc4b2a76b9719d911017c592"
        );
    }
}
