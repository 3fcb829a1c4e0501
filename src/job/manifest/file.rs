//! A file that rows are read from: where it lies, what it was when it was looked at, and its content.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use md5::{Digest, Md5};
use tokio_util::sync::CancellationToken;

use super::object::{Object, ObjectReader};
use super::watched::{Stamp, Watched};
use super::{ManifestError, Survey, digest_of, io_error};
use crate::job::access::Connection;
use crate::job::report::passes::hex;

/// How much is read together.
const BUFFER_BYTES: usize = 256 << 10;

/// A manifest, or a data file of one.
#[derive(Debug, Clone)]
pub enum ManifestFile {
    /// On disk.
    Disk(PathBuf),
    /// In S3.
    Object {
        /// Who reads it.
        connection: Box<Connection>,
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
        /// Ends reading: S3 may be waited for longer than a user waits.
        stop: CancellationToken,
    },
}

impl From<&Path> for ManifestFile {
    fn from(path: &Path) -> Self {
        Self::Disk(path.to_owned())
    }
}

impl From<&PathBuf> for ManifestFile {
    fn from(path: &PathBuf) -> Self {
        Self::Disk(path.clone())
    }
}

impl ManifestFile {
    /// How an object is named to the user, and in the job.
    pub fn address(bucket: &str, key: &str) -> PathBuf {
        format!("s3://{bucket}/{key}").into()
    }

    /// How it is named to the user.
    pub fn name(&self) -> PathBuf {
        match self {
            Self::Disk(path) => path.clone(),
            Self::Object { bucket, key, .. } => Self::address(bucket, key),
        }
    }

    /// Whether it is still what a job began with.
    ///
    /// # Errors
    /// It cannot be read, or is another file.
    pub fn check_unchanged(&self, survey: &Survey) -> Result<(), ManifestError> {
        self.look()?.check(self, &survey.e_tag)
    }

    /// Saves it, as it is now.
    ///
    /// # Errors
    /// It cannot be read, or the file not be written.
    pub fn save(&self, to: &Path) -> Result<(), ManifestError> {
        let mut from = self.look()?.raw(0).map_err(io_error(&self.name()))?;
        let file = File::create(to).map_err(io_error(to))?;
        let mut file = io::BufWriter::with_capacity(BUFFER_BYTES, file);
        io::copy(&mut from, &mut file).map_err(io_error(&self.name()))?;
        io::Write::flush(&mut file).map_err(io_error(to))
    }

    /// Looks at it: from now on nothing is handed out that was written later.
    pub(super) fn look(&self) -> Result<Pinned, ManifestError> {
        match self {
            Self::Disk(path) => {
                let file = File::open(path).map_err(io_error(path))?;
                let stamp = Stamp::of(&file).map_err(io_error(path))?;
                let (md5, bytes) = digest_of(file).map_err(io_error(path))?;
                Ok(Pinned::Disk {
                    path: path.clone(),
                    md5,
                    bytes,
                    stamp: Some(stamp),
                })
            }
            Self::Object {
                connection,
                bucket,
                key,
                stop,
            } => Ok(Pinned::Object(Object::look(connection, bucket, key, stop)?)),
        }
    }

    /// As [`look`](Self::look), where a survey has looked already.
    pub(super) fn look_again(&self, survey: &Survey) -> Result<Pinned, ManifestError> {
        match self {
            Self::Disk(path) => Ok(Pinned::Disk {
                path: path.clone(),
                md5: survey.e_tag.clone(),
                bytes: survey.file_bytes,
                stamp: survey.stamp,
            }),
            Self::Object { .. } => {
                let pinned = self.look()?;
                pinned.check(self, &survey.e_tag)?;
                Ok(pinned)
            }
        }
    }

    /// The file of that name in the same folder.
    pub(super) fn sibling(&self, name: &str) -> Self {
        match self {
            Self::Disk(path) => Self::Disk(path.with_file_name(name)),
            Self::Object {
                connection,
                bucket,
                key,
                stop,
            } => {
                let folder = key.rfind('/').and_then(|end| key.get(..=end));
                Self::Object {
                    connection: connection.clone(),
                    bucket: bucket.clone(),
                    key: format!("{}{name}", folder.unwrap_or_default()),
                    stop: stop.clone(),
                }
            }
        }
    }

    /// Whether it is not there; what a report in S3 has removed is empty.
    pub(super) fn is_gone(&self) -> Result<bool, ManifestError> {
        if let Self::Disk(path) = self {
            return path
                .try_exists()
                .map(|there| !there)
                .map_err(io_error(path));
        }
        match self.look() {
            Err(ManifestError::Object { source, .. }) if source.status == Some(404) => Ok(true),
            looked => Ok(looked?.bytes() == 0),
        }
    }

    /// The file of that name in the same folder, if it is there and may be read.
    pub(super) fn beside(&self, name: &str) -> Result<Option<Vec<u8>>, ManifestError> {
        let beside = self.sibling(name);
        if let Self::Disk(path) = &beside {
            return Ok(std::fs::read(path).ok());
        }
        match beside.look() {
            // Who may not list a bucket is answered 403 for what is not there.
            Err(ManifestError::Object { source, .. })
                if matches!(source.status, Some(403 | 404)) =>
            {
                Ok(None)
            }
            looked => looked?.read().map(Some).map_err(io_error(&beside.name())),
        }
    }
}

/// A file as it was when it was looked at, which it must stay while it is read.
#[derive(Debug, Clone)]
pub(super) enum Pinned {
    Disk {
        path: PathBuf,
        md5: String,
        bytes: u64,
        /// None where the job began in an earlier attempt.
        stamp: Option<Stamp>,
    },
    Object(Object),
}

impl Pinned {
    /// The ETag; of a file its MD5, as S3 would show it.
    pub(super) fn e_tag(&self) -> &str {
        match self {
            Self::Disk { md5, .. } => md5,
            Self::Object(object) => object.e_tag(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Disk { bytes, .. } => *bytes,
            Self::Object(object) => object.bytes(),
        }
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Disk { stamp, .. } => *stamp,
            Self::Object(_) => None,
        }
    }

    pub(super) fn check(&self, file: &ManifestFile, e_tag: &str) -> Result<(), ManifestError> {
        if self.e_tag() == e_tag {
            return Ok(());
        }
        Err(ManifestError::Changed {
            path: file.name(),
            found: self.e_tag().to_owned(),
            expected: e_tag.to_owned(),
        })
    }

    /// All of it.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.raw(0)?.read_to_end(&mut all)?;
        Ok(all)
    }

    /// Its bytes, from one on.
    pub(super) fn raw(&self, byte: u64) -> io::Result<Raw> {
        match self {
            Self::Disk {
                path, md5, stamp, ..
            } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(byte))?;
                Ok(Raw::Disk(Watched::new(file, path, md5, *stamp)?))
            }
            Self::Object(object) => Ok(Raw::Object {
                reader: ObjectReader::new(object.clone(), byte),
                verified: None,
            }),
        }
    }

    /// Its content from a byte on, decompressed.
    pub(super) fn content(&self, byte: u64) -> io::Result<Content> {
        match Content::new(self.raw(0)?)? {
            Content::Plain(_) if byte > 0 => Ok(Content::plain(self.raw(byte)?)),
            mut content => {
                io::copy(&mut content.by_ref().take(byte), &mut io::sink())?;
                Ok(content)
            }
        }
    }

    /// All of its content, decompressed; the end comes only where its bytes had that MD5.
    pub(super) fn verified_content(&self, md5: &str) -> io::Result<Content> {
        let mut raw = self.raw(0)?;
        if let Raw::Object { verified, .. } = &mut raw {
            *verified = Some((Md5::new(), md5.to_owned()));
        }
        Content::new(raw)
    }

    /// For formats that are read to and fro.
    pub(super) fn anywhere(&self) -> io::Result<Anywhere> {
        match self {
            Self::Disk { path, bytes, .. } => {
                Ok(Anywhere::Disk(Arc::new(File::open(path)?), *bytes))
            }
            Self::Object(object) => Ok(Anywhere::Object(object.clone())),
        }
    }
}

/// The bytes of a file, in order.
#[derive(Debug)]
pub(super) enum Raw {
    Disk(Watched),
    Object {
        reader: ObjectReader,
        /// What was read so far, and the MD5 that all must have.
        verified: Option<(Md5, String)>,
    },
}

impl Raw {
    /// Whether the file is still what it was; an object is pinned.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self {
            Self::Disk(file) => file.check(),
            Self::Object { .. } => Ok(()),
        }
    }
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (reader, verified) = match self {
            Self::Disk(file) => return file.read(buffer),
            Self::Object { reader, verified } => (reader, verified),
        };
        let read = reader.read(buffer)?;
        if let Some((md5, expected)) = verified {
            md5.update(buffer.get(..read).unwrap_or_default());
            if read == 0 && !buffer.is_empty() {
                same_md5(&hex(&md5.clone().finalize()), expected)?;
            }
        }
        Ok(read)
    }
}

/// Compares the MD5 of a data file with the one that its manifest lists.
pub(super) fn same_md5(found: &str, listed: &str) -> io::Result<()> {
    if found.eq_ignore_ascii_case(listed) {
        return Ok(());
    }
    let message = format!("its MD5 is {found}, manifest.json lists {listed}");
    Err(io::Error::other(message))
}

/// The content of a file, in order: gzip is told by its first bytes.
#[derive(Debug)]
pub(super) enum Content {
    /// One member or several: a reader of one stops after the first, in silence.
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
    Plain(BufReader<Raw>),
}

impl Content {
    fn new(raw: Raw) -> io::Result<Self> {
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
        let gzip = raw.fill_buf()?.starts_with(b"\x1f\x8b");
        Ok(if gzip {
            Self::Gzip(Box::new(MultiGzDecoder::new(raw)))
        } else {
            Self::Plain(raw)
        })
    }

    fn plain(raw: Raw) -> Self {
        Self::Plain(BufReader::with_capacity(BUFFER_BYTES, raw))
    }

    /// A file of the report, to which nobody else writes.
    pub(super) fn unwatched(path: &Path, byte: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(byte))?;
        Ok(Self::plain(Raw::Disk(Watched::unwatched(file))))
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(content) => content.read(buffer),
            Self::Plain(content) => content.read(buffer),
        }
    }
}

/// A file that is read at any place.
#[derive(Debug, Clone)]
pub(super) enum Anywhere {
    Disk(Arc<File>, u64),
    Object(Object),
}

impl Anywhere {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Disk(_, bytes) => *bytes,
            Self::Object(object) => object.bytes(),
        }
    }

    /// Reads so many bytes at a place; not more than there are, as lengths come from the file itself and
    /// memory is reserved by them.
    pub(super) fn read_at(&self, at: u64, length: usize) -> io::Result<Bytes> {
        if at
            .checked_add(length as u64)
            .is_none_or(|end| end > self.bytes())
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut all = vec![0; length];
        match self {
            Self::Disk(file, _) => file.read_exact_at(&mut all, at)?,
            Self::Object(object) => {
                // Mostly it lies in one block, which is not copied then.
                let first = object.some_at(at, length)?;
                if first.len() == length {
                    return Ok(first);
                }
                ObjectReader::new(object.clone(), at).read_exact(&mut all)?;
            }
        }
        Ok(all.into())
    }

    /// Reads from a place on.
    pub(super) fn read_from(&self, at: u64) -> BufReader<Onwards> {
        // Small: Parquet begins so to read each page, by a header of some bytes.
        BufReader::with_capacity(
            1 << 10,
            Onwards {
                of: self.clone(),
                at,
            },
        )
    }
}

/// Reads a file from a place on.
#[derive(Debug)]
pub(super) struct Onwards {
    of: Anywhere,
    at: u64,
}

impl Read for Onwards {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &self.of {
            Anywhere::Disk(file, _) => file.read_at(buffer, self.at)?,
            Anywhere::Object(object) => ObjectReader::new(object.clone(), self.at).read(buffer)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}
