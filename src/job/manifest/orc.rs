//! The ORC data files of an inventory, stripe by stripe.
//!
//! A timestamp of ORC has no zone: it is what a clock showed where the file was written. S3's clocks
//! show UTC, so it is read as UTC, whatever zone the file names.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use orc_rust::array_decoder::NaiveStripeDecoder;
use orc_rust::projection::ProjectionMask;
use orc_rust::reader::ChunkReader;
use orc_rust::reader::metadata::{FileMetadata, read_metadata};
use orc_rust::schema::{DataType, RootDataType};
use orc_rust::stripe::{Stripe, StripeMetadata};

use super::file::{Anywhere, Onwards};
use super::inventory::{Column, Decoded, Modified, Record, check_columns};

/// Rows that are decoded together.
const BATCH_ROWS: usize = 8_192;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads one file.
pub(super) struct Decoder {
    file: Anywhere,
    metadata: FileMetadata,
    /// The needed columns, as the file has them.
    schema: RootDataType,
    /// Places of the needed columns in a batch.
    columns: Columns,
    /// Stripes that were not begun.
    stripes: VecDeque<StripeMetadata>,
    open: Option<NaiveStripeDecoder>,
    /// Rows of the open stripe that are not decoded.
    left: u64,
    batch: Option<RecordBatch>,
    /// The next row of `batch`.
    at: usize,
    /// Number of the next row in the file.
    row: u64,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

/// What a value is read as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Boolean,
    Integer,
    Timestamp,
}

/// The needed columns in the order of the file.
struct Columns(Vec<(Column, Kind)>);

impl Decoder {
    /// Reads from row `start` on; stripes before it are not touched.
    pub(super) fn new(
        file: Anywhere,
        start: u64,
        listed: &[Option<Column>],
    ) -> Result<Self, Failure> {
        let mut file = file;
        let metadata = contained(|| Ok(read_metadata(&mut file)?))?;
        let (schema, columns) = needed(metadata.root_data_type())?;
        check_columns(listed, |listed| {
            columns.0.iter().any(|(column, _)| *column == listed)
        })?;
        let mut stripes: VecDeque<_> = metadata.stripe_metadatas().iter().cloned().collect();
        let rows = stripes
            .iter()
            .map(|stripe| u128::from(stripe.number_of_rows()));
        let (rows, listed) = (rows.sum::<u128>(), metadata.number_of_rows());
        if rows != u128::from(listed) {
            return Err(format!("its stripes have {rows} rows, its footer says {listed}").into());
        }
        let mut row = 0;
        while let Some(stripe) = stripes.front()
            && row + stripe.number_of_rows() <= start
        {
            row += stripe.number_of_rows();
            stripes.pop_front();
        }
        let mut decoder = Self {
            file,
            metadata,
            schema,
            columns,
            stripes,
            open: None,
            left: 0,
            batch: None,
            at: 0,
            row,
        };
        while decoder.row < start {
            if decoder.next()?.is_none() {
                break;
            }
        }
        Ok(decoder)
    }

    /// Number of the row behind the last one: by it the last one is found, from 1.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    pub(super) fn next(&mut self) -> Decoded<'_> {
        while self
            .batch
            .as_ref()
            .is_none_or(|batch| self.at >= batch.num_rows())
        {
            self.batch = None;
            self.at = 0;
            if self.left == 0 {
                let Some(stripe) = self.stripes.pop_front() else {
                    return Ok(None);
                };
                self.left = stripe.number_of_rows();
                // One stripe in memory, not two.
                self.open = None;
                self.open = Some(self.stripe(&stripe)?);
                continue;
            }
            self.batch = Some(self.decode()?);
        }
        let at = self.at;
        self.at += 1;
        self.row += 1;
        let Some(batch) = &self.batch else {
            return Ok(None);
        };
        let columns = &self.columns;
        let listed = columns.integer(batch, Column::Size, at);
        let size = listed.and_then(|size| u64::try_from(size).ok());
        let problem = listed
            .filter(|_| size.is_none())
            .map(|size| format!("its size is {size}, no number of bytes"));
        let bytes = |column| columns.bytes(batch, column, at);
        Ok(Some(Record {
            bucket: bytes(Column::Bucket),
            key: bytes(Column::Key),
            version_id: bytes(Column::VersionId),
            is_latest: columns.boolean(batch, Column::IsLatest, at),
            is_delete_marker: columns
                .boolean(batch, Column::IsDeleteMarker, at)
                .unwrap_or(false),
            size,
            last_modified: columns
                .nanoseconds(batch, at)
                .map_or(Modified::Unknown, Modified::Nanoseconds),
            e_tag: bytes(Column::ETag),
            storage_class: bytes(Column::StorageClass),
            encryption: bytes(Column::EncryptionStatus),
            problem,
        }))
    }

    fn stripe(&mut self, stripe: &StripeMetadata) -> Result<NaiveStripeDecoder, Failure> {
        let (file, metadata, schema) = (&mut self.file, &self.metadata, &self.schema);
        contained(|| {
            let stripe = Stripe::new(file, metadata, schema, stripe)?;
            let arrow = schema.create_arrow_schema(&HashMap::new());
            Ok(NaiveStripeDecoder::new(stripe, arrow.into(), BATCH_ROWS)?)
        })
    }

    /// Decodes the next rows of every column.
    fn decode(&mut self) -> Result<RecordBatch, Failure> {
        let wanted = usize::try_from(self.left).map_or(BATCH_ROWS, |left| left.min(BATCH_ROWS));
        let place = || format!("rows {} to {}", self.row + 1, self.row + wanted as u64);
        let open = self.open.as_mut();
        let batch = contained(|| Ok(open.and_then(Iterator::next).transpose()?))
            .map_err(|source| format!("{}: {source}", place()))?
            .ok_or_else(|| format!("{} are missing", place()))?;
        let (rows, columns) = (batch.num_rows(), batch.num_columns());
        if rows != wanted || columns != self.columns.0.len() {
            return Err(format!("{}: only {rows} of {columns} columns", place()).into());
        }
        self.left -= wanted as u64;
        Ok(batch)
    }
}

/// The columns that a copy can use, and what each is read as.
fn needed(root: &RootDataType) -> Result<(RootDataType, Columns), Failure> {
    let mut columns = Vec::new();
    let mut indices = Vec::new();
    for column in root.children() {
        let Some(known) = Column::named(column.name()) else {
            continue;
        };
        let found = column.data_type();
        let kind = match (known, found) {
            (Column::IsLatest | Column::IsDeleteMarker, DataType::Boolean { .. }) => Kind::Boolean,
            (Column::Size | Column::LastModifiedDate, DataType::Long { .. }) => Kind::Integer,
            (
                Column::LastModifiedDate,
                DataType::Timestamp { .. } | DataType::TimestampWithLocalTimezone { .. },
            ) => Kind::Timestamp,
            (Column::IsLatest | Column::IsDeleteMarker, _) => {
                return Err(wrong(column.name(), found, "BOOLEAN"));
            }
            (Column::Size, _) => return Err(wrong(column.name(), found, "LONG")),
            (Column::LastModifiedDate, _) => return Err(wrong(column.name(), found, "TIMESTAMP")),
            (_, DataType::String { .. } | DataType::Varchar { .. } | DataType::Char { .. }) => {
                Kind::Text
            }
            (_, DataType::Binary { .. }) => Kind::Binary,
            _ => return Err(wrong(column.name(), found, "STRING")),
        };
        if columns.iter().any(|(other, _)| *other == known) {
            return Err(format!("it has two columns {}", column.name()).into());
        }
        columns.push((known, kind));
        indices.push(found.column_index());
    }
    let schema = root.project(&ProjectionMask::roots(root, indices));
    Ok((schema, Columns(columns)))
}

fn wrong(name: &str, found: &DataType, expected: &str) -> Failure {
    format!("its column {name} is {found}, not {expected}").into()
}

impl Columns {
    /// The values of a column where that row has one; `None` where the file has no such column.
    fn values<'a>(
        &self,
        batch: &'a RecordBatch,
        column: Column,
        at: usize,
    ) -> Option<(&'a dyn Array, Kind)> {
        let place = self.0.iter().position(|(known, _)| *known == column)?;
        let values = batch.columns().get(place)?;
        let (_, kind) = self.0.get(place)?;
        values.is_valid(at).then_some((&**values, *kind))
    }

    fn bytes<'a>(&self, batch: &'a RecordBatch, column: Column, at: usize) -> &'a [u8] {
        match self.values(batch, column, at) {
            Some((values, Kind::Text)) => values.as_string::<i32>().value(at).as_bytes(),
            Some((values, Kind::Binary)) => values.as_binary::<i32>().value(at),
            _ => &[],
        }
    }

    fn boolean(&self, batch: &RecordBatch, column: Column, at: usize) -> Option<bool> {
        let (values, _) = self.values(batch, column, at)?;
        Some(values.as_boolean().value(at))
    }

    fn integer(&self, batch: &RecordBatch, column: Column, at: usize) -> Option<i64> {
        let (values, _) = self.values(batch, column, at)?;
        Some(values.as_primitive::<Int64Type>().value(at))
    }

    /// The time of last change; a plain number counts milliseconds, as in S3's Parquet.
    fn nanoseconds(&self, batch: &RecordBatch, at: usize) -> Option<i128> {
        let (values, kind) = self.values(batch, Column::LastModifiedDate, at)?;
        Some(if kind == Kind::Integer {
            i128::from(values.as_primitive::<Int64Type>().value(at)) * 1_000_000
        } else {
            let values = values.as_primitive::<TimestampNanosecondType>();
            i128::from(values.value(at))
        })
    }
}

/// A panic of the reader as an error: what is not whole leads `orc-rust` out of its tables, and it
/// takes each time zone that it does not know for impossible.
fn contained<T>(read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref().copied())
            .unwrap_or("no reason given");
        Err(format!("it is no whole ORC file: {what}").into())
    })
}

impl ChunkReader for Anywhere {
    type T = BufReader<Onwards>;

    fn len(&self) -> u64 {
        self.bytes()
    }

    fn get_read(&self, offset: u64) -> io::Result<Self::T> {
        Ok(self.read_from(offset))
    }

    fn get_bytes(&self, offset: u64, length: u64) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.read_at(offset, length)
    }
}

#[cfg(test)]
mod tests;
