//! A source that is written again while it is copied in parts: what lands is one object or the other, with its own
//! metadata, tags and annotations.
