//! The comments of our own .proto files, as a table that the library looks up.

use std::collections::BTreeMap;

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Numbers of fields of `FileDescriptorProto` and its parts, of which paths into a file are made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const ENUM_VALUE: i32 = 2;

/// Source of a sorted slice of (full name, comment), for files whose names start with `prefix`.
pub(crate) fn table(descriptors: &FileDescriptorSet, prefix: &str) -> String {
    let mut comments = Comments::default();
    for file in descriptors
        .file
        .iter()
        .filter(|file| file.name().starts_with(prefix))
    {
        comments.file(file);
    }
    let entries: Vec<(String, String)> = comments.by_name.into_iter().collect();
    format!("&{entries:#?}")
}

#[derive(Default)]
struct Comments {
    by_name: BTreeMap<String, String>,
    /// Comments of the file that is being read, by path.
    by_path: BTreeMap<Vec<i32>, String>,
}

impl Comments {
    fn file(&mut self, file: &FileDescriptorProto) {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        self.by_path = locations
            .filter(|location| location.leading_comments.is_some())
            .map(|location| (location.path.clone(), text(location.leading_comments())))
            .collect();
        let package = file.package();
        for (index, message) in (0..).zip(&file.message_type) {
            self.message(message, package, &[FILE_MESSAGE, index]);
        }
        for (index, enumeration) in (0..).zip(&file.enum_type) {
            self.enumeration(enumeration, package, &[FILE_ENUM, index]);
        }
    }

    fn message(&mut self, message: &DescriptorProto, scope: &str, path: &[i32]) {
        let name = format!("{scope}.{}", message.name());
        self.keep(&name, path);
        for (index, field) in (0..).zip(&message.field) {
            self.keep(
                &format!("{name}.{}", field.name()),
                &below(path, MESSAGE_FIELD, index),
            );
        }
        for (index, nested) in (0..).zip(&message.nested_type) {
            self.message(nested, &name, &below(path, MESSAGE_NESTED, index));
        }
        for (index, enumeration) in (0..).zip(&message.enum_type) {
            self.enumeration(enumeration, &name, &below(path, MESSAGE_ENUM, index));
        }
    }

    fn enumeration(&mut self, enumeration: &EnumDescriptorProto, scope: &str, path: &[i32]) {
        let name = format!("{scope}.{}", enumeration.name());
        self.keep(&name, path);
        for (index, value) in (0..).zip(&enumeration.value) {
            self.keep(
                &format!("{name}.{}", value.name()),
                &below(path, ENUM_VALUE, index),
            );
        }
    }

    fn keep(&mut self, name: &str, path: &[i32]) {
        if let Some(comment) = self.by_path.remove(path) {
            self.by_name.insert(name.to_owned(), comment);
        }
    }
}

fn below(path: &[i32], part: i32, index: i32) -> Vec<i32> {
    [path, &[part, index]].concat()
}

/// A comment as running text.
fn text(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}
