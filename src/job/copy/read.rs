//! Two objects read through this machine and compared, byte by byte.

use futures::stream::{self, StreamExt};
use s3haul_s3::{GetObject, Head, Lane, Operation, S3Error, Tally};

use super::Copier;
use super::multipart::add;
use super::prove::{Verdict, replaced};
use crate::job::outcome::Evidence;
use crate::job::plan::Task;

const MIB: u64 = 1 << 20;
/// What one request reads.
pub const BLOCK_BYTES: u64 = 4 * MIB;
/// Blocks of an object that are read at a time.
const BLOCKS: usize = 4;
/// Mebibytes that may be in memory, of all objects.
pub const READING_MIB: usize = 128;

/// How a block compares.
enum Block {
    Equal,
    /// The first byte that differs.
    Differs(u64),
    /// One of the two is another object by now.
    Changed(Verdict),
}

/// Why two objects were not read to their ends.
pub(super) enum Unread {
    /// The job is stopping.
    Stopped,
    /// The source was refused.
    Source(S3Error),
    /// The destination was refused.
    Copy(S3Error),
}

impl Copier {
    /// Reads both, of equal size, each pinned to the ETag that its HEAD has shown.
    pub(super) async fn read_both(
        &self,
        task: &Task,
        source: &Head,
        there: &Head,
        lane: Lane,
        tally: &mut Tally,
    ) -> Result<Verdict, Unread> {
        let firsts = (0..source.bytes).step_by(usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX));
        let blocks = firsts.map(|first| {
            let range = (first, (first + BLOCK_BYTES).min(source.bytes) - 1);
            self.read_block(task, source, there, range, lane)
        });
        let mut blocks = stream::iter(blocks).buffer_unordered(BLOCKS);
        while let Some((cost, compared)) = blocks.next().await {
            add(tally, &cost);
            match compared? {
                Block::Equal => {}
                Block::Differs(at) => {
                    return Ok(Verdict::Differs(format!(
                        "source and copy differ in byte {at}"
                    )));
                }
                Block::Changed(verdict) => return Ok(verdict),
            }
            if self.drain.is_cancelled() {
                return Err(Unread::Stopped);
            }
        }
        Ok(Verdict::Proved(Evidence::Full))
    }

    async fn read_block(
        &self,
        task: &Task,
        source: &Head,
        there: &Head,
        range: (u64, u64),
        lane: Lane,
    ) -> (Tally, Result<Block, Unread>) {
        let mut cost = Tally::default();
        let mebibytes = (range.1 + 1 - range.0).div_ceil(MIB);
        let both = u32::try_from(2 * mebibytes).unwrap_or(u32::MAX);
        let Ok(_memory) = self.reading.acquire_many(both).await else {
            return (cost, Err(Unread::Stopped));
        };
        let (source_headers, there_headers) = (
            self.headers.source_object(),
            self.headers.destination_object(),
        );
        let of_source = GetObject {
            bucket: &self.source_bucket,
            key: &task.row.key,
            version_id: source.version_id.as_deref(),
            range,
            if_match: Some(&source.e_tag),
            headers: &source_headers,
        };
        let of_copy = GetObject {
            bucket: &self.destination_bucket,
            key: &task.destination_key,
            version_id: there.version_id.as_deref(),
            range,
            if_match: Some(&there.e_tag),
            headers: &there_headers,
        };
        let (mut a, mut b) = (Tally::default(), Tally::default());
        let operation = Operation::GetObject;
        let (one, other) = tokio::join!(
            self.read(&mut a, lane, operation, || self
                .source
                .get_object(of_source)),
            self.read(&mut b, lane, operation, || self
                .destination
                .get_object(of_copy)),
        );
        add(&mut cost, &a);
        add(&mut cost, &b);
        let changed = |error: &S3Error| error.status == Some(412);
        let compared = match (one, other) {
            (Ok(one), Ok(other)) => Ok(match one.iter().zip(&other).position(|(a, b)| a != b) {
                Some(at) => Block::Differs(range.0 + at as u64),
                None => Block::Equal,
            }),
            (Err(error), _) if changed(&error) => Ok(Block::Changed(Verdict::Unproved(
                "the source was written again while it was read".to_owned(),
            ))),
            (_, Err(error)) if changed(&error) => Ok(Block::Changed(replaced())),
            (Err(error), _) => Err(Unread::Source(error)),
            (_, Err(error)) => Err(Unread::Copy(error)),
        };
        (cost, compared)
    }
}
