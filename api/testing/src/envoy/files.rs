//! Certificates where a configuration names files that exist on other machines only.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::certificates::Authority;

/// The fields that name certificates, keys and authorities, and the file that stands in for those of a field.
const FIELDS: [(&str, &str); 3] = [
    ("certificateChain", "certificate.pem"),
    ("privateKey", "key.pem"),
    ("trustedCa", "authority.pem"),
];

/// The configuration with files in `folder` in place of those that do not exist here: Envoy reads them even to judge.
pub(super) fn provide(bootstrap: &Value, folder: &Path) -> io::Result<Value> {
    let mut bootstrap = bootstrap.clone();
    if replace(&mut bootstrap, folder) {
        let authority = Authority::new("judge").map_err(io::Error::other)?;
        let pair = authority
            .issue(&["judge.example.com"])
            .map_err(io::Error::other)?;
        let contents = [&*pair.certificate, &*pair.key, authority.certificate()];
        for ((_, file), content) in FIELDS.iter().zip(contents) {
            fs::write(folder.join(file), content)?;
        }
    }
    Ok(bootstrap)
}

/// Whether something was replaced.
fn replace(value: &mut Value, folder: &Path) -> bool {
    let mut replaced = false;
    match value {
        Value::Array(items) => {
            for item in items {
                replaced |= replace(item, folder);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let stand_in = FIELDS.iter().find(|(known, _)| known == name);
                match (stand_in, field.get_mut("filename")) {
                    (Some((_, file)), Some(path))
                        if path.as_str().is_some_and(|path| !Path::new(path).exists()) =>
                    {
                        *path = Value::from(folder.join(file).to_string_lossy());
                        replaced = true;
                    }
                    _ => replaced |= replace(field, folder),
                }
            }
        }
        _ => {}
    }
    replaced
}
