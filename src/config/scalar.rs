//! Reading single values: the words of `value` and the places of `reader` together.

use std::{fs::File, io::Read as _, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use saphyr::{Scalar, YamlData};
use url::Url;

use super::{Secret, expand, reader::Node, value};

/// Larger files are no secrets.
const LONGEST_SECRET: u64 = 64 << 10;

impl Node<'_> {
    /// Text as it stands in the file.
    fn written(&self) -> Option<&str> {
        match &self.yaml.data {
            YamlData::Value(Scalar::String(text)) => Some(text),
            YamlData::Value(_) => {
                self.wrong("must be text: put it in quotes");
                None
            }
            _ => {
                self.expected("text");
                None
            }
        }
    }

    /// A single value as text, whatever YAML takes it for.
    fn loose(&self, what: &str) -> Option<String> {
        match &self.yaml.data {
            YamlData::Value(Scalar::String(text)) => self.expanded(text),
            YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
            YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
            YamlData::Value(Scalar::Boolean(flag)) => Some(flag.to_string()),
            _ => {
                self.expected(what);
                None
            }
        }
    }

    /// Text with its variables in their places.
    fn expanded(&self, text: &str) -> Option<String> {
        match expand::expand(text, self.reading.env) {
            Ok(text) => Some(text),
            Err(sentences) => {
                sentences.into_iter().for_each(|sentence| self.wrong(sentence));
                None
            }
        }
    }

    /// Notes that the value is wrong, and has none.
    fn refuse<T>(&self, why: &str) -> Option<T> {
        self.wrong_value(why);
        None
    }

    /// Notes that the value is wrong, quoting what stands in the file and not what a variable made of it.
    pub(super) fn wrong_value(&self, why: &str) {
        let written = match &self.yaml.data {
            // Whatever is before an @ may be a password.
            YamlData::Value(Scalar::String(text)) if text.contains('@') => "the value".to_owned(),
            YamlData::Value(Scalar::String(text)) if text.chars().count() > 80 => "the value".to_owned(),
            YamlData::Value(Scalar::String(text)) => format!("{text:?}"),
            YamlData::Value(Scalar::Integer(number)) => number.to_string(),
            YamlData::Value(Scalar::FloatingPoint(number)) => number.to_string(),
            YamlData::Value(Scalar::Boolean(flag)) => flag.to_string(),
            _ => "the value".to_owned(),
        };
        self.wrong(format!("{written} {why}"));
    }

    fn read<T>(&self, what: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.loose(what)?;
        read(&text).or_else(|why| self.refuse(&why).ok_or(())).ok()
    }

    /// Text of any kind.
    pub(super) fn text(&self) -> Option<String> {
        let text = self.expanded(self.written()?)?;
        if text.contains(char::is_control) {
            return self.refuse("holds a line break or another control character");
        }
        Some(text)
    }

    /// Text that is not empty.
    pub(super) fn name(&self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.wrong("is empty");
            return None;
        }
        Some(text)
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.read("true or false", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("is neither true nor false".into()),
        })
    }

    /// A whole number from 0.
    pub(super) fn count(&self) -> Option<u64> {
        self.read("a number", |text| text.parse().map_err(|_| "is no whole number from 0".into()))
    }

    /// A whole number from 1 that counts things in memory.
    pub(super) fn at_least_one(&self) -> Option<usize> {
        self.read("a number", |text| match text.parse() {
            Ok(0) | Err(_) => Err("is no whole number from 1".into()),
            Ok(number) => Ok(number),
        })
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.read("a port", |text| match text.parse() {
            Ok(0) | Err(_) => Err("is no port: write a number from 1 to 65535".into()),
            Ok(port) => Ok(port),
        })
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.read("a size", value::size)
    }

    /// A size that must let something through.
    pub(super) fn limit(&self) -> Option<u64> {
        match self.size()? {
            0 => self.refuse("would let nothing through, and there is no unlimited: write a size"),
            size => Some(size),
        }
    }

    /// A size of which 0 means that there is none.
    pub(super) fn size_or_off(&self) -> Option<Option<u64>> {
        self.size().map(|size| (size > 0).then_some(size))
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.read("a duration", value::duration)
    }

    /// A duration, or this word (`off`, `never`) for none.
    pub(super) fn duration_or(&self, none: &str) -> Option<Option<Duration>> {
        self.read("a duration", |text| match value::duration(text) {
            _ if text == none => Ok(None),
            Ok(duration) => Ok(Some(duration)),
            Err(why) => Err(format!("{why}, or {none}")),
        })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.read("an address (IP:PORT)", value::address)
    }

    pub(super) fn network(&self) -> Option<IpNet> {
        self.read("a network", value::network)
    }

    pub(super) fn base_url(&self) -> Option<Url> {
        self.read("a URL", value::base_url)
    }

    /// What stands before every name in a bucket.
    pub(super) fn prefix(&self) -> Option<String> {
        self.read("text", value::prefix)
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.read("text", |text| match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(format!("is not one of {}", words.join(", ")))
            }
        })
    }

    /// Whether just this word stands there.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.yaml.data, YamlData::Value(Scalar::String(text)) if text == word)
    }

    /// A path seen from the working directory.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.name().map(PathBuf::from)
    }

    /// A file that can be read, seen from the folder of the configuration file.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let path = self.reading.base_dir.join(self.name()?);
        match File::open(&path).and_then(|file| file.metadata()) {
            Ok(meta) if meta.is_file() => Some(path),
            Ok(_) => self.refuse("is not a file"),
            Err(error) => self.refuse(&format!("cannot be read: {error}")),
        }
    }

    /// A secret: text, a variable, or `file:PATH`. No message about it holds any part of it.
    pub(super) fn secret(&self) -> Option<Secret> {
        let written = self.written()?;
        let (secret, source) = match written.strip_prefix("file:") {
            Some(path) => (self.secret_file(path)?, "its file"),
            None => (self.expanded(written)?, if expand::mentions_a_variable(written) { "its variable" } else { "" }),
        };
        if secret.is_empty() {
            self.wrong(if source.is_empty() {
                "is empty".to_owned()
            } else {
                format!("is empty: {source} holds nothing")
            });
            return None;
        }
        if secret.contains(char::is_control) || secret.trim() != secret {
            self.wrong("begins or ends with a space, or holds a line break: no header can carry it");
            return None;
        }
        Some(Secret::new(secret))
    }

    fn secret_file(&self, written: &str) -> Option<String> {
        let path = self.reading.base_dir.join(self.expanded(written)?);
        let mut secret = String::new();
        match File::open(path).and_then(|file| file.take(LONGEST_SECRET + 1).read_to_string(&mut secret)) {
            Ok(length) if length as u64 > LONGEST_SECRET => self.wrong("its file is too large to hold a secret"),
            Ok(_) => return Some(secret.trim_end_matches(['\n', '\r']).to_owned()),
            // The path stands in the file, unless it came out of a variable.
            Err(error) => self.wrong(format!("the file {written:?} cannot be read: {error}")),
        }
        None
    }
}
