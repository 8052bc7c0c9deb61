//! The transfer of one file: resumed where it broke off, tried again as long as a try brings anything new.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use super::cache::disk;
use super::http::{Body, Client, Tries, header};
use super::{HubError, Progress};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 18;

/// A file to download.
pub(super) struct Job<'a> {
    pub(super) commit: &'a str,
    pub(super) file: &'a str,
    /// The file for messages.
    pub(super) what: &'a str,
    /// Where the bytes go.
    pub(super) part: &'a Path,
    /// How many there must be.
    pub(super) size: u64,
}

/// An answer that brings a file, or the rest of it.
struct Incoming<'a> {
    /// Where it comes from, for messages.
    url: &'a str,
    response: Body,
    /// The part file, at its end.
    out: File,
    /// Bytes that the part file has.
    done: u64,
}

impl Job<'_> {
    /// Bytes that are there.
    fn done(&self) -> u64 {
        self.part.metadata().map_or(0, |m| m.len())
    }

    fn stopped(&self) -> HubError {
        HubError::Stopped { what: self.what.to_owned() }
    }
}

impl Client {
    /// Brings `job` to its end, going on where its part file ends. Tries again as long as a try brings anything new.
    pub(super) fn download(&self, job: &Job<'_>, progress: &mut dyn Progress) -> Result<(), HubError> {
        let mut done = job.done();
        if done > job.size {
            std::fs::remove_file(job.part).map_err(disk(job.part, "remove"))?;
            done = 0;
        }
        progress.start(job.file, done, job.size);
        let (mut tries, mut best) = (Tries::new(self.retries, self.pause), done);
        while done < job.size || !job.part.exists() {
            match self.download_once(job, done, progress) {
                Err(e) if e.is_passing() => {
                    done = job.done();
                    if done > best {
                        (tries, best) = (Tries::new(self.retries, self.pause), done);
                    }
                    tries.again(e, job.what, progress)?;
                }
                other => return other,
            }
        }
        Ok(())
    }

    /// One try from byte `start` on; `Ok` when the body has ended.
    fn download_once(&self, job: &Job<'_>, start: u64, progress: &mut dyn Progress) -> Result<(), HubError> {
        if progress.is_stopped() {
            return Err(job.stopped());
        }
        let (part, what) = (job.part, job.what);
        let (url, response) = self.get(self.url(job.commit, job.file), start, what)?;
        let resumed = match response.status().as_u16() {
            206 => true,
            200 => false,
            416 => {
                std::fs::remove_file(part).map_err(disk(part, "remove"))?;
                return Err(self.network(what, &url, "the hub would not resume".to_owned()));
            }
            _ => return self.refusal(&response, None, what).and(Err(self.answer(what, "no file".to_owned()))),
        };
        self.check_body(job, &response, resumed.then_some(start))?;
        let mut options = OpenOptions::new();
        options.create(true);
        let options = if resumed { options.append(true) } else { options.write(true).truncate(true) };
        let out = options.open(part).map_err(disk(part, "write"))?;
        let body = Incoming { url: &url, response, out, done: if resumed { start } else { 0 } };
        let done = self.receive(job, body, progress)?;
        if done < job.size {
            let problem = format!("the connection ended after {done} of {} bytes", job.size);
            return Err(self.network(what, &url, problem));
        }
        Ok(())
    }

    /// Writes a body to the end of the part file; returns how many bytes there are then.
    fn receive(&self, job: &Job<'_>, incoming: Incoming<'_>, progress: &mut dyn Progress) -> Result<u64, HubError> {
        let Incoming { url, response, mut out, mut done } = incoming;
        let (mut body, mut buffer) = (response.into_body().into_reader(), vec![0; PIECE]);
        // A server that never stops is cut off just past the announced size, which `verify` then sees.
        while done <= job.size {
            let n = body.read(&mut buffer).map_err(|e| self.network(job.what, url, e.to_string()))?;
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n]).map_err(disk(job.part, "write"))?;
            done += n as u64;
            progress.update(done.min(job.size));
            if progress.is_stopped() {
                return Err(job.stopped());
            }
        }
        Ok(done)
    }

    /// Refuses a body that cannot be the file, before it takes the place of what is there.
    fn check_body(&self, job: &Job<'_>, response: &Body, resumed: Option<u64>) -> Result<(), HubError> {
        match (resumed, header(response, "content-range"), header(response, "content-length")) {
            (Some(start), Some(range), _) if !range.starts_with(&format!("bytes {start}-")) => {
                Err(self.answer(job.what, "another range than asked for".to_owned()))
            }
            (None, _, Some(length)) if length.parse() != Ok(job.size) => {
                Err(self.answer(job.what, format!("{length} bytes, where {} were announced", job.size)))
            }
            _ => Ok(()),
        }
    }

    /// Follows redirects; the range is asked for at every station.
    fn get(&self, mut url: String, start: u64, what: &str) -> Result<(String, Body), HubError> {
        for _ in 0..10 {
            let request = self.agent.get(&url);
            let request = if start > 0 { request.header("range", format!("bytes={start}-")) } else { request };
            let response = self.request(request, &url, what)?;
            if !response.status().is_redirection() {
                return Ok((url, response));
            }
            url = self.redirect(&response, &url, what)?;
        }
        Err(self.answer(what, "more than 10 redirects".to_owned()))
    }
}
