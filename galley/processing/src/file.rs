//! Objects from a file or a directory (G6.1).
//!
//! What is read: all files `*.yaml`, `*.yml` and `*.json` beneath the path, except those whose name, or the name of a
//! directory on the way, begins with a dot (editors' temporary files, and the inside of mounted ConfigMaps). A path
//! that is a file is read whatever its name. Links are followed; what changes beyond them is seen at the next change
//! beneath the path.
//!
//! What happens on a change: the system reports it, nothing is polled. Files whose time stamps, length or inode differ
//! are read again; of these, only documents whose content differs make events. Where the system reports files and nothing
//! else, and there are no links, no other files are looked at.
//!
//! What is served:
//! - A document that is an object but not a valid one is reported and left out, also when a former version of it was
//!   valid. Everything else is served.
//! - Of two documents for the same object the first counts, by path and place in the file; the others are reported.
//! - Objects of foreign kinds, such as Deployments, are not ours to judge and are ignored.
//! - A file that cannot be read (permissions, not UTF-8, too large) keeps its former objects and is reported.
//! - A file in which a document is not even YAML may be half written: the documents that can be read are taken, and
//!   former objects that are not among them stay until the whole file can be read.
//! - A file that is suddenly empty is believed after one second: `kubectl get -o yaml > file` empties the file first.
//! - A path that does not exist is waited for: before it was there nothing is served, and when it disappears
//!   everything stays as it was.
//!
//! The time of creation is what the object says, otherwise when this process first saw it.

mod catalog;
mod read;
mod scan;
mod source;

pub use source::{FileSource, FileSourceError};
