//! The codes that a report has of s3haul itself, besides S3's own.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a row failed or was left alone, where no answer of S3's says it.
        ///
        /// `docs/troubleshooting.md` has each with its cause and what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Names it as the report does.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

codes! {
    /// Skipped: the destination has an object of this key.
    DestinationExists,
    /// Skipped: the destination has an equal object.
    DestinationEqual,
    /// Skipped: an earlier job's report has it.
    CopiedBefore,
    /// Skipped: it is archived.
    Archived,
    /// Skipped: a delete marker has no content.
    DeleteMarker,
    /// It is archived, and is being restored.
    RestoreInProgress,
    /// The copy is there, and is not the source.
    VerificationFailed,
    /// Something else was written at the destination meanwhile.
    DestinationConflict,
    /// An older version of the key has failed.
    EarlierVersionFailed,
    /// The destination keeps no versions.
    DestinationNotVersioned,
    /// The source is not what was listed, or what was begun.
    SourceChanged,
    /// The manifest lists no ETag to hold the source to.
    NoListedETag,
    /// The source does not meet a date that was asked for; S3's code, given by us after a HEAD.
    PreconditionFailed,
    /// A copy in parts would lose tags.
    TagsNotCopied,
    /// The copy cannot have annotations.
    AnnotationsNotCopied,
    /// A copy in parts would lose metadata.
    MetadataNotReadable,
    /// There is no such object to compare.
    Missing,
    /// What stands there is another object.
    Different,
    /// Nothing proves that two objects are equal, nor that they are not.
    NotComparable,
    /// The key does not begin with the prefix to strip.
    PrefixNotFound,
    /// A row of the manifest cannot be read.
    InvalidManifestRow,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
