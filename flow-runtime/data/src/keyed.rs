//! Hashes of secrets, of no use to whoever lacks a key.

use std::io::{ErrorKind, Write};
use std::path::Path;

use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};

use crate::files::hex;
use crate::{Error, Result};

/// The HMAC-SHA-256 of a text with the key in this file, as 64 lower-case hexadecimal digits: however short the text is, only who
/// may read the file can try others against it. The file is made at the first call, for its owner alone; lose it, and every
/// text has another hash. Blocks.
///
/// # Errors
/// The file cannot be read or made, or is no such key.
pub fn keyed_hash(file: &Path, text: &str) -> Result<String> {
    let key = match read(file)? {
        Some(key) => key,
        None => make(file)?,
    };
    Ok(hex(sign(&Key::new(HMAC_SHA256, &key), text.as_bytes()).as_ref()))
}

/// The key, if there is one.
fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(file)(error)),
    };
    let text = text.trim_ascii_end();
    match text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit) {
        true => Ok(Some(text.to_ascii_lowercase())),
        false => Err(Error::format(file, "this is no key of 64 hexadecimal digits: put its copy back, or delete it")),
    }
}

/// Makes a key, unless another process is quicker.
fn make(file: &Path) -> Result<Vec<u8>> {
    let mut random = [0; 32];
    let failed = |_| Error::io(file)(std::io::Error::other("the system gives no random bytes for a key"));
    SystemRandom::new().fill(&mut random).map_err(failed)?;
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    // For its owner alone, by itself.
    let mut part = tempfile::Builder::new().suffix(".part").tempfile_in(folder).map_err(Error::io(folder))?;
    let written = part.write_all(hex(&random).as_bytes()).and_then(|()| part.as_file().sync_all());
    written.map_err(Error::io(file))?;
    match part.persist_noclobber(file) {
        Ok(_) => {}
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io(file)(error.error)),
    }
    read(file)?.ok_or_else(|| Error::io(file)(ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_text_and_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("deep/one.key"), folder.path().join("other.key"));
        let hash = keyed_hash(&one, "1234").unwrap();
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
        assert_eq!(keyed_hash(&one, "1234").unwrap(), hash);
        assert_ne!(keyed_hash(&one, "1235").unwrap(), hash);
        assert_ne!(keyed_hash(&other, "1234").unwrap(), hash, "each file has a key of its own");
        std::fs::copy(&one, &other).unwrap();
        assert_eq!(keyed_hash(&other, "1234").unwrap(), hash, "a copy of the key serves as well");
        assert_eq!(std::fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(one.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn many_at_once_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let (file, begin) = (folder.path().join(format!("{round}.key")), std::sync::Barrier::new(8));
            let hash = || {
                begin.wait();
                keyed_hash(&file, "1234").unwrap()
            };
            let hashes: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(hash)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.key");
        for text in ["", "hush", &"g".repeat(64)] {
            std::fs::write(&file, text).unwrap();
            let error = keyed_hash(&file, "1234").unwrap_err().to_string();
            assert!(error.contains("a.key") && error.contains("is no key"), "{error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
