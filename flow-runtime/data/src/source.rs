//! A file's bytes, unpacked and in UTF-8, whatever it is packed with and written in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// How much is read from a file at once.
const READ_BYTES: usize = 256 << 10;

/// Counts and hashes what is read of the file on disk.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
    hash: Arc<Mutex<Option<Sha256>>>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        let mut hash = self.hash.lock().map_err(|_| io::Error::other("a thread ended with a panic"))?;
        if let Some(hash) = hash.as_mut() {
            hash.update(&buf[..n]);
        }
        Ok(n)
    }
}

/// The SHA-256 of what a [`Source`] has read of its file, to be asked when all is read.
#[derive(Clone)]
pub(crate) struct Hash(Arc<Mutex<Option<Sha256>>>);

impl Hash {
    /// In hexadecimal digits, or `None` after a panic, or if nobody wanted it.
    pub(crate) fn hex(&self) -> Option<String> {
        let digest = self.0.lock().ok()?.clone()?.finalize();
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A text file that is being read.
pub(crate) struct Source {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    packed: &'static str,
    read: Arc<AtomicU64>,
    hash: Hash,
}

impl Source {
    /// Opens a file and looks what it is. `encoding` is stated, or `None` for UTF-8 and byte order marks.
    pub(crate) fn open(path: &Path, encoding: Option<&str>) -> Result<Self> {
        let encoding = match encoding {
            None => None,
            Some(name) => Some(Encoding::for_label(name.as_bytes()).ok_or_else(|| {
                Error::Invalid(format!(
                    "no encoding is called `{name}`; names are utf-8, windows-1252, iso-8859-15, .."
                ))
            })?),
        };
        let file = File::open(path).map_err(Error::io(path))?;
        let read = Arc::new(AtomicU64::new(0));
        let hash = Hash(Arc::new(Mutex::new(Some(Sha256::new()))));
        let counted = Counted { file, read: read.clone(), hash: hash.0.clone() };
        let mut plain = BufReader::with_capacity(READ_BYTES, counted);
        let start = plain.fill_buf().map_err(Error::io(path))?;
        let refused = |what: &str| Err(Error::format(path, what));
        let (reader, packed): (Box<dyn Read + Send>, _) = match start {
            [0x1f, 0x8b, ..] => (Box::new(MultiGzDecoder::new(plain)), "gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                let decoder = zstd::stream::read::Decoder::with_buffer(plain).map_err(Error::io(path))?;
                (Box::new(decoder), "zstd")
            }
            [b'P', b'K', 3, 4, ..] => return refused("this is a zip archive; unpack it, or pack it with gzip"),
            [b'P', b'A', b'R', b'1', ..] => return refused("this is a Parquet file, not text"),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => {
                return refused("this is packed with bzip2; unpack it, or pack it with gzip or zstd");
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                return refused("this is packed with xz; unpack it, or pack it with gzip or zstd");
            }
            _ => (Box::new(plain), ""),
        };
        let mut source = Self { path: path.to_owned(), reader, packed, read, hash };
        source.decode(encoding)?;
        Ok(source)
    }

    /// Takes the byte order mark off, and decodes what is not UTF-8.
    fn decode(&mut self, stated: Option<&'static Encoding>) -> Result<()> {
        let mut start = Vec::new();
        self.reader.by_ref().take(3).read_to_end(&mut start).map_err(|e| self.failed(e))?;
        let (encoding, mark) = match (Encoding::for_bom(&start), stated) {
            (Some((by_mark, length)), None) => (by_mark, length),
            (Some((by_mark, length)), Some(stated)) if by_mark == stated => (stated, length),
            (_, stated) => (stated.unwrap_or(UTF_8), 0),
        };
        start.drain(..mark);
        let reader = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        let whole = Read::chain(io::Cursor::new(start), reader);
        self.reader = if encoding == UTF_8 {
            Box::new(whole)
        } else {
            let decoder = encoding.new_decoder_without_bom_handling();
            Box::new(Decoded {
                reader: whole,
                decoder,
                raw: Vec::new(),
                at: 0,
                ended: false,
                finished: false,
                text: Vec::new(),
                sent: 0,
            })
        };
        Ok(())
    }

    /// Adds so many bytes, or fewer at the end of the file.
    pub(crate) fn read(&mut self, bytes: usize, to: &mut Vec<u8>) -> Result<usize> {
        to.reserve(bytes);
        self.reader.by_ref().take(bytes as u64).read_to_end(to).map_err(|e| self.failed(e))
    }

    /// Takes no SHA-256: nobody will ask for it.
    pub(crate) fn unhashed(&mut self) {
        if let Ok(mut hash) = self.hash.0.lock() {
            *hash = None;
        }
    }

    /// How much of the file on disk has been read.
    pub(crate) fn position(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn hash(&self) -> Hash {
        self.hash.clone()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, source: io::Error) -> Error {
        let packed = self.packed;
        match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::format(&self.path, format!("the {packed} stream is cut short; fetch the file again"))
            }
            _ if !packed.is_empty() && source.raw_os_error().is_none() => {
                Error::format(&self.path, format!("the {packed} stream is broken: {source}"))
            }
            _ => Error::Io { path: self.path.clone(), source },
        }
    }
}

/// Turns an encoding to UTF-8. What is malformed becomes the byte 0xff, which no text in UTF-8 holds: the value is found
/// to be wrong where it stands.
struct Decoded<R> {
    reader: R,
    decoder: Decoder,
    raw: Vec<u8>,
    /// How much of `raw` was decoded.
    at: usize,
    /// All was read.
    ended: bool,
    /// All was decoded.
    finished: bool,
    text: Vec<u8>,
    /// How much of `text` was handed on.
    sent: usize,
}

impl<R: Read> Decoded<R> {
    fn more(&mut self) -> io::Result<()> {
        self.text.clear();
        self.sent = 0;
        if self.at == self.raw.len() && !self.ended {
            self.raw.clear();
            self.at = 0;
            let read = self.reader.by_ref().take(READ_BYTES as u64 / 4).read_to_end(&mut self.raw)?;
            self.ended = read == 0;
        }
        self.text.resize(READ_BYTES, 0);
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(&self.raw[self.at..], &mut self.text, self.ended);
        self.at += read;
        self.text.truncate(written);
        match result {
            DecoderResult::Malformed(..) => self.text.push(0xff),
            DecoderResult::InputEmpty => self.finished = self.ended,
            DecoderResult::OutputFull => {}
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.sent == self.text.len() {
            if self.finished {
                return Ok(0);
            }
            self.more()?;
        }
        let n = buf.len().min(self.text.len() - self.sent);
        buf[..n].copy_from_slice(&self.text[self.sent..self.sent + n]);
        self.sent += n;
        Ok(n)
    }
}
