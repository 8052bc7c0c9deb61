//! The fields of a request to write something down.

use std::io::Write;

use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;
use tempfile::NamedTempFile;

use crate::call::off_worker;
use crate::refusal::Refused;

/// Longest field but the file, in bytes.
const LONGEST_FIELD: usize = 64 << 10;

/// How the text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    #[default]
    Json,
    VerboseJson,
    Text,
    Srt,
    Vtt,
}

impl Format {
    const NAMED: [(&'static str, Self); 5] = [
        ("json", Self::Json),
        ("verbose_json", Self::VerboseJson),
        ("text", Self::Text),
        ("srt", Self::Srt),
        ("vtt", Self::Vtt),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}

/// What is asked for.
pub(super) struct Form {
    pub(super) file: NamedTempFile,
    pub(super) format: Format,
    /// Whether each word's times are wanted too.
    pub(super) words: bool,
    pub(super) stream: bool,
}

impl Form {
    /// Reads a form; its file goes to a temporary one.
    pub(super) async fn read(mut form: Multipart) -> Result<Self, Refused> {
        let (mut file, mut format, mut words, mut stream) = (None, Format::default(), false, false);
        while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
            match field.name().unwrap_or_default() {
                "file" => file = Some(keep(field).await?),
                "response_format" => {
                    let name = text(field).await?;
                    format = Format::named(&name)
                        .ok_or_else(|| wrong("response_format", &name, "json, verbose_json, text, srt or vtt"))?;
                }
                "timestamp_granularities[]" | "timestamp_granularities" => match text(field).await?.as_str() {
                    "word" => words = true,
                    "segment" => {}
                    other => return Err(wrong("timestamp_granularities", other, "word or segment")),
                },
                "stream" => match text(field).await?.to_ascii_lowercase().as_str() {
                    "true" | "1" => stream = true,
                    "false" | "0" | "" => stream = false,
                    other => return Err(wrong("stream", other, "true or false")),
                },
                // What other models are told; a form need not fail for it.
                _ => drop(text(field).await?),
            }
        }
        let missing =
            || Refused::new(StatusCode::BAD_REQUEST, "parameter", "the form has no field \"file\": the recording");
        Ok(Self { file: file.ok_or_else(missing)?, format, words, stream })
    }
}

/// Writes the file's bytes down as they come.
async fn keep(mut field: Field<'_>) -> Result<NamedTempFile, Refused> {
    let gone = || full(&std::io::Error::other("its thread is gone"));
    let (_, made) = off_worker((), |()| NamedTempFile::new()).await.ok_or_else(gone)?;
    let mut file = made.map_err(|error| full(&error))?;
    while let Some(bytes) = field.chunk().await.map_err(|error| unreadable(&error))? {
        let (kept, written) = off_worker(file, move |file| file.write_all(&bytes)).await.ok_or_else(gone)?;
        written.map_err(|error| full(&error))?;
        file = kept;
    }
    Ok(file)
}

async fn text(mut field: Field<'_>) -> Result<String, Refused> {
    let (name, mut value) = (field.name().unwrap_or_default().to_owned(), Vec::new());
    while let Some(bytes) = field.chunk().await.map_err(|error| unreadable(&error))? {
        value.extend_from_slice(&bytes);
        if value.len() > LONGEST_FIELD {
            let why = format!("the field {name:?} is longer than {LONGEST_FIELD} bytes");
            return Err(Refused::new(StatusCode::BAD_REQUEST, "parameter", why));
        }
    }
    let not_utf8 = |_| Refused::new(StatusCode::BAD_REQUEST, "parameter", format!("the field {name:?} is not UTF-8"));
    String::from_utf8(value).map_err(not_utf8)
}

fn wrong(name: &str, found: &str, expected: &str) -> Refused {
    let found: String = found.chars().take(64).collect();
    Refused::new(StatusCode::BAD_REQUEST, "parameter", format!("{name} is {found:?}; expected {expected}"))
}

fn unreadable(error: &MultipartError) -> Refused {
    Refused::new(error.status(), "form", error.body_text())
}

fn full(error: &std::io::Error) -> Refused {
    tracing::error!(%error, "a recording cannot be kept");
    Refused::new(StatusCode::INSUFFICIENT_STORAGE, "internal", "the server has no room to keep the recording")
}
