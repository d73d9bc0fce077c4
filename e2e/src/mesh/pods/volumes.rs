//! Volumes: what they hold (pure), and writing them to folders of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{KeyToPath, Volume};

use super::env::Sources;

/// What a volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// An empty folder that everybody may write to.
    Empty,
    /// Files by relative path, replaced together when they change.
    Files(BTreeMap<PathBuf, Vec<u8>>),
    /// A file or folder of this machine.
    Host(PathBuf),
}

/// The link through which the files of a volume are replaced at once, as kubelet does it.
const DATA: &str = "..data";

/// What `volume` holds for the pod of `sources`.
pub(super) fn content(volume: &Volume, sources: Sources<'_>) -> Result<Content, String> {
    if volume.empty_dir.is_some() {
        return Ok(Content::Empty);
    }
    if let Some(host) = &volume.host_path {
        return Ok(Content::Host(PathBuf::from(&host.path)));
    }
    if let Some(source) = &volume.config_map {
        let map = sources.config_map(&source.name, source.optional.unwrap_or_default())?;
        let texts = map.and_then(|map| map.data.clone()).unwrap_or_default();
        let mut data: BTreeMap<String, Vec<u8>> = texts
            .into_iter()
            .map(|(key, text)| (key, text.into_bytes()))
            .collect();
        data.extend(bytes(map.and_then(|map| map.binary_data.clone())));
        return files(data, source.items.as_deref());
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let secret = sources.secret(name, source.optional.unwrap_or_default())?;
        let mut data = bytes(secret.and_then(|secret| secret.data.clone()));
        let texts = secret
            .and_then(|secret| secret.string_data.clone())
            .unwrap_or_default();
        data.extend(texts.into_iter().map(|(key, text)| (key, text.into_bytes())));
        return files(data, source.items.as_deref());
    }
    if let Some(source) = &volume.downward_api {
        let mut files = BTreeMap::new();
        for item in source.items.iter().flatten() {
            let field = item
                .field_ref
                .as_ref()
                .ok_or("downwardAPI items need a fieldRef")?;
            files.insert(
                relative(&item.path)?,
                sources.field(&field.field_path)?.into_bytes(),
            );
        }
        return Ok(Content::Files(files));
    }
    Err("a volume of this type is not supported".to_owned())
}

fn bytes(data: Option<BTreeMap<String, ByteString>>) -> BTreeMap<String, Vec<u8>> {
    data.unwrap_or_default()
        .into_iter()
        .map(|(key, ByteString(value))| (key, value))
        .collect()
}

/// Files named by their keys, or as `items` says.
fn files(data: BTreeMap<String, Vec<u8>>, items: Option<&[KeyToPath]>) -> Result<Content, String> {
    let Some(items) = items else {
        let files = data.into_iter().map(|(key, value)| Ok((relative(&key)?, value)));
        return Ok(Content::Files(files.collect::<Result<_, String>>()?));
    };
    let chosen = items.iter().map(|item| {
        let value = data
            .get(&item.key)
            .ok_or_else(|| format!("there is no key {}", item.key))?;
        Ok((relative(&item.path)?, value.clone()))
    });
    Ok(Content::Files(chosen.collect::<Result<_, String>>()?))
}

/// A path that stays inside its volume.
fn relative(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let hidden = path.starts_with(DATA);
    if inside && !hidden {
        Ok(path.to_owned())
    } else {
        Err(format!("{} leaves the volume", path.display()))
    }
}

/// Makes `folder` hold `content`. May be called again with changed files; readers see all of them change at once.
pub(super) fn write(folder: &Path, content: &Content) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match content {
        Content::Empty => fs::set_permissions(folder, fs::Permissions::from_mode(0o777)),
        Content::Files(files) => write_files(folder, files),
        Content::Host(_) => Ok(()),
    }
}

fn write_files(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    let current = fs::read_link(folder.join(DATA)).ok();
    let generation = current
        .as_ref()
        .and_then(|name| name.to_str()?.strip_prefix("..g")?.parse().ok())
        .unwrap_or(0);
    let next = PathBuf::from(format!("..g{}", generation + 1));
    for (path, bytes) in files {
        let file = folder.join(&next).join(path);
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(file, bytes)?;
    }
    fs::create_dir_all(folder.join(&next))?;
    let link = folder.join("..data_tmp");
    // Left by a write that was interrupted.
    let _ = fs::remove_file(&link);
    symlink(&next, &link)?;
    fs::rename(&link, folder.join(DATA))?;
    let tops: Vec<_> = files.keys().filter_map(|path| path.components().next()).collect();
    for top in &tops {
        let visible = folder.join(top);
        if fs::symlink_metadata(&visible).is_err() {
            symlink(Path::new(DATA).join(top), visible)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let known = tops.iter().any(|top| top.as_os_str() == name);
        if !known && !name.as_encoded_bytes().starts_with(b"..") {
            fs::remove_file(entry.path())?;
        }
    }
    match current {
        Some(old) => fs::remove_dir_all(folder.join(old)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Content {
        let files = pairs
            .iter()
            .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()));
        Content::Files(files.collect())
    }

    #[test]
    fn files_are_replaced_together_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("v");
        write(&folder, &map(&[("a", "1"), ("deep/b", "2")])).unwrap();
        assert_eq!(fs::read_to_string(folder.join("deep/b")).unwrap(), "2");
        write(&folder, &map(&[("a", "3")])).unwrap();
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "3");
        assert!(!folder.join("deep").exists());
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["..data", "..g2", "a"]);
    }

    #[test]
    fn an_empty_volume_is_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("v"), &Content::Empty).unwrap();
        let mode = fs::metadata(dir.path().join("v")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        for path in ["../x", "/x", "a/../../x", "..data/x"] {
            assert!(relative(path).is_err(), "{path}");
        }
        assert_eq!(relative("a/b").unwrap(), Path::new("a/b"));
    }
}
