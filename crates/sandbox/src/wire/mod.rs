//! The HTTP side: connections, faults, the log, and answers as S3 sends them, around s3s.

mod bodies;
mod document;
mod front;
mod server;

pub(crate) use self::document::xml_text;
pub(crate) use self::front::{Clock, Front};
pub(crate) use self::server::accept;
