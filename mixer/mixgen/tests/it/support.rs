//! A folder in which `mixgen` runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prost_reflect::DescriptorPool;
use tempfile::TempDir;

/// The templates that are built in.
pub(crate) const TEMPLATES: [&str; 11] = [
    "apikey",
    "authorization",
    "checknothing",
    "edge",
    "kubernetes",
    "listentry",
    "logentry",
    "metric",
    "quota",
    "reportnothing",
    "tracespan",
];

/// The protos of this tree.
pub(crate) fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../api/proto")
}

/// A folder of somebody who writes an adapter.
pub(crate) struct Author {
    folder: TempDir,
}

// === impl Author ===

impl Author {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mixgen"))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// What it prints.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains of.
    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Folders of protos: the author's, ours, and what ours import beyond `google.protobuf`.
    fn includes(&self) -> [PathBuf; 3] {
        let more = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        [self.folder.path().to_owned(), protos(), more]
    }

    /// A descriptor set as protoc writes it.
    pub(crate) fn descriptor_set(&self, name: &str, protos: &[&str], imports: bool) {
        let mut compiler = protox::Compiler::new(self.includes()).unwrap();
        compiler.include_imports(imports).include_source_info(true);
        for proto in protos {
            compiler.open_file(proto).unwrap();
        }
        fs::write(self.path(name), compiler.encode_file_descriptor_set()).unwrap();
    }

    /// What a proto of the folder describes.
    pub(crate) fn compiled(&self, name: &str) -> DescriptorPool {
        let mut compiler = protox::Compiler::new(self.includes()).unwrap();
        compiler.include_imports(true).open_file(name).unwrap();
        compiler.descriptor_pool()
    }
}
