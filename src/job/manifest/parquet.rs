//! The Parquet data files of an inventory, by its column readers.

use std::collections::VecDeque;
use std::io::BufReader;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{
    ChunkReader, FileReader, Length, RowGroupReader, SerializedFileReader,
};

use super::file::{Anywhere, Onwards};
use super::inventory::{Column, Decoded, Modified, Record, check_columns};

/// Rows that are decoded together.
const BATCH_ROWS: usize = 8_192;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads one file.
pub(super) struct Decoder {
    file: SerializedFileReader<Anywhere>,
    columns: Vec<(usize, Column)>,
    /// Nanoseconds of a tick of `last_modified_date`.
    tick: i128,
    /// Row groups that were not begun, with their rows.
    groups: VecDeque<(usize, u64)>,
    open: Vec<(Column, Reader)>,
    /// Rows of the open group that are not decoded.
    left: u64,
    batch: Batch,
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

/// Decoded columns; one that the file does not have is empty.
#[derive(Default)]
struct Batch {
    rows: usize,
    bytes: [Vec<Option<ByteArray>>; 6],
    is_latest: Vec<Option<bool>>,
    is_delete_marker: Vec<Option<bool>>,
    size: Vec<Option<i64>>,
    last_modified: Vec<Option<i64>>,
}

enum Reader {
    Bytes(ColumnReaderImpl<ByteArrayType>),
    Bool(ColumnReaderImpl<BoolType>),
    Int64(ColumnReaderImpl<Int64Type>),
}

impl Decoder {
    /// Reads from row `start` on; row groups before it are not touched.
    pub(super) fn new(
        file: Anywhere,
        start: u64,
        listed: &[Option<Column>],
    ) -> Result<Self, Failure> {
        let file = SerializedFileReader::new(file)?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let mut columns = Vec::new();
        let mut tick = 1_000_000;
        for (at, column) in schema.columns().iter().enumerate() {
            let Some(known) = Column::named(column.name()) else {
                continue;
            };
            let expected = match known {
                Column::IsLatest | Column::IsDeleteMarker => Type::BOOLEAN,
                Column::Size | Column::LastModifiedDate => Type::INT64,
                _ => Type::BYTE_ARRAY,
            };
            if column.physical_type() != expected || column.max_rep_level() > 0 {
                let (name, found) = (column.name(), column.physical_type());
                return Err(format!("its column {name} is {found}, not {expected}").into());
            }
            if known == Column::LastModifiedDate {
                tick = nanoseconds(column.logical_type_ref(), column.converted_type());
            }
            columns.push((at, known));
        }
        check_columns(listed, |listed| {
            columns.iter().any(|(_, column)| *column == listed)
        })?;
        let footer = file.metadata();
        let groups = footer.row_groups().iter();
        let sizes = groups.map(RowGroupMetaData::num_rows);
        let total = sizes.clone().try_fold(0_i64, i64::checked_add);
        let listed = footer.file_metadata().num_rows();
        if total != Some(listed) || sizes.clone().any(|rows| rows < 0) {
            return Err("the rows of its row groups are not those of its footer".into());
        }
        let sizes = sizes.map(|rows| u64::try_from(rows).unwrap_or_default());
        let mut groups: VecDeque<_> = sizes.enumerate().collect();
        let mut row = 0;
        while let Some((_, rows)) = groups.front()
            && row + rows <= start
        {
            row += rows;
            groups.pop_front();
        }
        let mut decoder = Self {
            file,
            columns,
            tick,
            groups,
            open: Vec::new(),
            left: 0,
            batch: Batch::default(),
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
        while self.at >= self.batch.rows {
            if self.left == 0 {
                let Some((group, rows)) = self.groups.pop_front() else {
                    return Ok(None);
                };
                self.open = open(&*self.file.get_row_group(group)?, &self.columns)?;
                self.left = rows;
                continue;
            }
            self.batch.read(&mut self.open, self.left)?;
            self.left = self.left.saturating_sub(self.batch.rows as u64);
            self.at = 0;
        }
        let at = self.at;
        self.at += 1;
        self.row += 1;
        let bytes = |column: Column| {
            let values = self.batch.bytes.get(slot(column)).and_then(|v| v.get(at));
            values
                .and_then(Option::as_ref)
                .map_or(&[][..], ByteArray::data)
        };
        let of = |values: &[Option<i64>]| values.get(at).copied().flatten();
        let is = |values: &[Option<bool>]| values.get(at).copied().flatten();
        let listed = of(&self.batch.size);
        let size = listed.and_then(|size| u64::try_from(size).ok());
        let problem = listed
            .filter(|_| size.is_none())
            .map(|size| format!("its size is {size}, no number of bytes"));
        let tick = self.tick;
        Ok(Some(Record {
            bucket: bytes(Column::Bucket),
            key: bytes(Column::Key),
            version_id: bytes(Column::VersionId),
            is_latest: is(&self.batch.is_latest),
            is_delete_marker: is(&self.batch.is_delete_marker).unwrap_or(false),
            size,
            last_modified: of(&self.batch.last_modified).map_or(Modified::Unknown, |at| {
                Modified::Nanoseconds(i128::from(at) * tick)
            }),
            e_tag: bytes(Column::ETag),
            storage_class: bytes(Column::StorageClass),
            encryption: bytes(Column::EncryptionStatus),
            problem,
        }))
    }
}

impl Length for Anywhere {
    fn len(&self) -> u64 {
        self.bytes()
    }
}

impl ChunkReader for Anywhere {
    type T = BufReader<Onwards>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.read_from(start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        Ok(self.read_at(start, length)?)
    }
}

/// S3 writes milliseconds; other writers of the same columns may not.
fn nanoseconds(logical: Option<&LogicalType>, converted: ConvertedType) -> i128 {
    match (logical, converted) {
        (Some(LogicalType::Timestamp(timestamp)), _) => match timestamp.unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1_000,
            TimeUnit::NANOS => 1,
        },
        (_, ConvertedType::TIMESTAMP_MICROS) => 1_000,
        _ => 1_000_000,
    }
}

/// The place of a column of bytes in a batch.
fn slot(column: Column) -> usize {
    match column {
        Column::Bucket => 0,
        Column::Key => 1,
        Column::VersionId => 2,
        Column::ETag => 3,
        Column::EncryptionStatus => 5,
        _ => 4,
    }
}

fn open(
    group: &dyn RowGroupReader,
    columns: &[(usize, Column)],
) -> Result<Vec<(Column, Reader)>, Failure> {
    columns
        .iter()
        .map(|(at, column)| {
            let reader = match group.get_column_reader(*at)? {
                ColumnReader::ByteArrayColumnReader(reader) => Reader::Bytes(reader),
                ColumnReader::BoolColumnReader(reader) => Reader::Bool(reader),
                ColumnReader::Int64ColumnReader(reader) => Reader::Int64(reader),
                _ => return Err("a column has another type in a row group".into()),
            };
            Ok((*column, reader))
        })
        .collect()
}

impl Batch {
    /// Decodes the next rows of every column.
    fn read(&mut self, columns: &mut [(Column, Reader)], left: u64) -> Result<(), Failure> {
        let wanted = usize::try_from(left).map_or(BATCH_ROWS, |left| left.min(BATCH_ROWS));
        for (column, reader) in columns {
            let read = match reader {
                Reader::Bytes(reader) => {
                    let Some(values) = self.bytes.get_mut(slot(*column)) else {
                        continue;
                    };
                    fill(reader, wanted, values)?
                }
                Reader::Bool(reader) if *column == Column::IsLatest => {
                    fill(reader, wanted, &mut self.is_latest)?
                }
                Reader::Bool(reader) => fill(reader, wanted, &mut self.is_delete_marker)?,
                Reader::Int64(reader) if *column == Column::Size => {
                    fill(reader, wanted, &mut self.size)?
                }
                Reader::Int64(reader) => fill(reader, wanted, &mut self.last_modified)?,
            };
            if read != wanted {
                return Err(format!("a column has {read} values where {wanted} are due").into());
            }
        }
        self.rows = wanted;
        Ok(())
    }
}

/// Reads `wanted` values of a column, none for each that is null; says how many there were.
fn fill<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    wanted: usize,
    into: &mut Vec<Option<T::T>>,
) -> Result<usize, Failure> {
    into.clear();
    let (mut values, mut levels) = (Vec::with_capacity(wanted), Vec::with_capacity(wanted));
    while into.len() < wanted {
        values.clear();
        levels.clear();
        let left = wanted - into.len();
        let (records, _, _) = reader.read_records(left, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            break;
        }
        let mut values = values.drain(..);
        if levels.is_empty() {
            // A required column has no levels.
            into.extend(values.map(Some));
        } else {
            into.extend(
                levels
                    .iter()
                    .map(|level| (*level > 0).then(|| values.next()).flatten()),
            );
        }
    }
    Ok(into.len())
}
