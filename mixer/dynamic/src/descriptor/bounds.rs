//! Descriptors within bounds. What stands in objects was not always made by a compiler, and the library that understands it
//! trusts it: it writes out every name and every part of a package, looks up each type in every scope around it, compares
//! each field with each range, and follows public imports without an end if they go in a circle.

use std::collections::{BTreeSet, HashMap};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FieldDescriptorProto, FieldOptions,
    FileDescriptorProto, FileDescriptorSet, MessageOptions,
};

use super::DescriptorError;

/// Files in one descriptor. Those of Istio's own templates have less than ten.
const MAX_FILES: usize = 1000;

/// Imports of all files, those included that others import for them.
const MAX_IMPORTS: usize = 20_000;

/// Letters of a full name.
const MAX_NAME: usize = 512;

/// Parts of a full name.
const MAX_PARTS: usize = 32;

/// Letters of all full names together.
const MAX_NAMES: usize = 4 << 20;

/// Comparisons of the fields of a message with its ranges, of all messages together.
const MAX_COMPARISONS: usize = 10_000_000;

/// What is left of what a descriptor may need.
struct Budget {
    names: usize,
    comparisons: usize,
}

/// A descriptor that can be understood in little time and memory, without what nobody asks for: comments, and options but
/// for those that say how fields are encoded. Public imports are imports of whoever imports them.
pub(super) fn bounded(mut set: FileDescriptorSet) -> Result<FileDescriptorSet, DescriptorError> {
    let too_large = |reason: String| Err(DescriptorError::TooLarge(reason));
    if set.file.len() > MAX_FILES {
        return too_large(format!("{} files, at most {MAX_FILES}", set.file.len()));
    }
    import(&mut set.file)?;
    let mut budget = Budget {
        names: MAX_NAMES,
        comparisons: MAX_COMPARISONS,
    };
    for file in &mut set.file {
        if let Some(syntax) = file
            .syntax
            .as_deref()
            .filter(|syntax| !["proto2", "proto3"].contains(syntax))
        {
            let reason = format!("the syntax {syntax:?} is neither proto2 nor proto3");
            return Err(DescriptorError::Shape(file.name().to_owned(), reason));
        }
        if let Err(reason) = budget.file(file) {
            return too_large(format!("{}: {reason}", file.name()));
        }
    }
    Ok(set)
}

/// Adds what imports import publicly to what each file imports.
fn import(files: &mut [FileDescriptorProto]) -> Result<(), DescriptorError> {
    let names: Vec<_> = files.iter().map(|file| file.name().to_owned()).collect();
    let numbers: HashMap<_, _> = names.iter().map(String::as_str).zip(0..).collect();
    let public: Vec<Vec<usize>> = files
        .iter()
        .map(|file| {
            let imported = file.public_dependency.iter().filter_map(|number| {
                let name = file.dependency.get(usize::try_from(*number).ok()?)?;
                numbers.get(name.as_str()).copied()
            });
            imported.collect()
        })
        .collect();
    let mut imports: usize = 0;
    for file in files {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = file
            .dependency
            .iter()
            .filter_map(|name| numbers.get(name.as_str()).copied())
            .collect();
        let direct: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(number) = open.pop() {
            if seen.insert(number) {
                open.extend(&public[number]);
                imports += 1 + public[number].len();
                if imports > MAX_IMPORTS {
                    let reason = format!("more than {MAX_IMPORTS} imports");
                    return Err(DescriptorError::TooLarge(reason));
                }
            }
        }
        file.public_dependency.clear();
        file.weak_dependency.clear();
        file.dependency
            .extend(seen.difference(&direct).map(|number| names[*number].clone()));
    }
    Ok(())
}

// === impl Budget ===

impl Budget {
    fn file(&mut self, file: &mut FileDescriptorProto) -> Result<(), String> {
        file.source_code_info = None;
        file.options = None;
        let package = file.package().to_owned();
        // The library knows every part of it.
        let parts = package.match_indices('.').map(|(end, _)| &package[..end]);
        for part in parts.chain([package.as_str()]) {
            self.name("", part)?;
        }
        for message in &mut file.message_type {
            self.message(&package, message)?;
        }
        for enumeration in &mut file.enum_type {
            self.enumeration(&package, enumeration)?;
        }
        for extension in &mut file.extension {
            self.field(&package, extension)?;
        }
        for service in &mut file.service {
            service.options = None;
            let scope = self.name(&package, service.name())?;
            for method in &mut service.method {
                method.options = None;
                self.name(&scope, method.name())?;
                self.reference(&scope, method.input_type())?;
                self.reference(&scope, method.output_type())?;
            }
        }
        Ok(())
    }

    fn message(&mut self, scope: &str, message: &mut DescriptorProto) -> Result<(), String> {
        message.options = message.options.take().map(|options| MessageOptions {
            map_entry: options.map_entry,
            ..MessageOptions::default()
        });
        let scope = self.name(scope, message.name())?;
        let ranges = message.reserved_range.len() + message.extension_range.len();
        self.compare(message.field.len(), ranges)?;
        for range in &mut message.extension_range {
            range.options = None;
        }
        for field in message.field.iter_mut().chain(&mut message.extension) {
            self.field(&scope, field)?;
        }
        for oneof in &mut message.oneof_decl {
            oneof.options = None;
            self.name(&scope, oneof.name())?;
        }
        for enumeration in &mut message.enum_type {
            self.enumeration(&scope, enumeration)?;
        }
        for nested in &mut message.nested_type {
            self.message(&scope, nested)?;
        }
        Ok(())
    }

    fn enumeration(&mut self, scope: &str, enumeration: &mut EnumDescriptorProto) -> Result<(), String> {
        enumeration.options = enumeration.options.take().map(|options| EnumOptions {
            allow_alias: options.allow_alias,
            ..EnumOptions::default()
        });
        let inner = self.name(scope, enumeration.name())?;
        self.compare(enumeration.value.len(), enumeration.reserved_range.len())?;
        for value in &mut enumeration.value {
            value.options = None;
            self.name(&inner, value.name())?;
        }
        Ok(())
    }

    fn field(&mut self, scope: &str, field: &mut FieldDescriptorProto) -> Result<(), String> {
        field.options = field.options.take().map(|options| FieldOptions {
            packed: options.packed,
            ..FieldOptions::default()
        });
        self.name(scope, field.name())?;
        self.reference(scope, field.type_name())?;
        self.reference(scope, field.extendee())
    }

    /// The full name of something in a scope.
    fn name(&mut self, scope: &str, name: &str) -> Result<String, String> {
        let length = scope.len() + 1 + name.len();
        if length > MAX_NAME {
            return Err(format!("a name has {length} letters, at most {MAX_NAME}"));
        }
        let full = if scope.is_empty() {
            name.to_owned()
        } else {
            format!("{scope}.{name}")
        };
        let parts = full.split('.').count();
        if parts > MAX_PARTS {
            return Err(format!("{full} has {parts} parts, at most {MAX_PARTS}"));
        }
        self.names = self
            .names
            .checked_sub(length)
            .ok_or_else(|| format!("the names have more than {MAX_NAMES} letters together"))?;
        Ok(full)
    }

    /// The name of a type, which is looked up in all scopes around.
    fn reference(&mut self, scope: &str, name: &str) -> Result<(), String> {
        if name.is_empty() {
            return Ok(());
        }
        self.name(if name.starts_with('.') { "" } else { scope }, name)
            .map(|_| ())
    }

    fn compare(&mut self, fields: usize, ranges: usize) -> Result<(), String> {
        let left = self.comparisons.checked_sub(fields.saturating_mul(ranges));
        self.comparisons = left.ok_or("there are too many fields and reserved ranges")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Files;
    use super::*;

    use prost::Message as _;
    use prost_types::descriptor_proto::ReservedRange;

    fn named(name: &str) -> FileDescriptorProto {
        FileDescriptorProto {
            name: Some(name.to_owned()),
            ..FileDescriptorProto::default()
        }
    }

    fn importing(name: &str, imports: &[String]) -> FileDescriptorProto {
        FileDescriptorProto {
            dependency: imports.to_vec(),
            public_dependency: (0..).take(imports.len()).collect(),
            ..named(name)
        }
    }

    fn message(name: &str) -> DescriptorProto {
        DescriptorProto {
            name: Some(name.to_owned()),
            ..DescriptorProto::default()
        }
    }

    fn read(file: Vec<FileDescriptorProto>) -> Result<Files, String> {
        Files::decode(&FileDescriptorSet { file }.encode_to_vec()).map_err(|error| error.to_string())
    }

    fn refused(file: Vec<FileDescriptorProto>) -> String {
        read(file).err().unwrap_or_default()
    }

    /// Each of these would take all memory or time that there is, or the process itself.
    #[test]
    fn what_only_harms_is_refused_at_once() {
        let package = |package: String| FileDescriptorProto {
            package: Some(package),
            ..named("a")
        };
        let deep = (0..40).fold(message("m"), |inner, _| DescriptorProto {
            nested_type: vec![inner],
            ..message("m")
        });
        let wide = |count: usize| {
            let fields = (0..count).map(|number| FieldDescriptorProto {
                name: Some(format!("f{number}")),
                ..FieldDescriptorProto::default()
            });
            DescriptorProto {
                field: fields.collect(),
                ..message(&"m".repeat(400))
            }
        };
        let of = |message| FileDescriptorProto {
            message_type: vec![message],
            ..named("a")
        };
        let ranges = DescriptorProto {
            reserved_range: vec![ReservedRange::default(); 20_000],
            ..wide(1000)
        };
        for (files, reason) in [
            (
                vec![package("a".repeat(1000))],
                "a: a name has 1001 letters, at most 512",
            ),
            (vec![package("a.".repeat(200_000))], "parts, at most 32"),
            (vec![of(deep)], "parts, at most 32"),
            (
                vec![of(wide(20_000))],
                "a: the names have more than 4194304 letters together",
            ),
            (
                vec![of(ranges)],
                "a: there are too many fields and reserved ranges",
            ),
            (vec![named("a"); 1001], "1001 files, at most 1000"),
            (
                vec![FileDescriptorProto {
                    syntax: Some("editions".to_owned()),
                    ..named("a")
                }],
                "a: the syntax \"editions\" is neither proto2 nor proto3",
            ),
        ] {
            let told = refused(files);
            assert!(told.contains(reason), "{told}");
        }
    }

    /// Layers of files of which each imports all of the next have more ways through them than can be gone.
    #[test]
    fn imports_in_circles_and_in_layers_come_to_an_end() {
        let itself = importing("a", &["a".to_owned()]);
        let _either = read(vec![itself]);
        let circle = vec![
            importing("a", &["b".to_owned()]),
            importing("b", &["a".to_owned()]),
        ];
        let _either = read(circle);
        let pair = |layer: usize| [format!("{layer}a"), format!("{layer}b")];
        let layers = (1..=32).flat_map(|layer| {
            let before = if layer == 1 {
                Vec::new()
            } else {
                pair(layer - 1).to_vec()
            };
            pair(layer).map(|name| importing(&name, &before))
        });
        read(layers.collect()).unwrap();
    }

    #[test]
    fn what_imports_import_publicly_is_known() {
        let of_type = |type_name: &str| FieldDescriptorProto {
            name: Some("f".to_owned()),
            number: Some(1),
            label: Some(1),
            r#type: Some(11),
            type_name: Some(type_name.to_owned()),
            ..FieldDescriptorProto::default()
        };
        let base = FileDescriptorProto {
            message_type: vec![message("Base")],
            ..named("base")
        };
        let between = importing("between", &["base".to_owned()]);
        let above = importing("above", &["between".to_owned()]);
        let user = FileDescriptorProto {
            dependency: vec!["above".to_owned()],
            message_type: vec![DescriptorProto {
                field: vec![of_type(".Base")],
                ..message("User")
            }],
            ..named("user")
        };
        let files = read(vec![base, between, above, user]).unwrap();
        assert!(files.pool.get_message_by_name("User").is_some());
    }
}
