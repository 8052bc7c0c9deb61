//! What a call is, whatever it comes over: what was asked for, its place, its limits, what is heard and said in it, its
//! recording, and how it ends.
//!
//! No type of a socket, of WebSockets or of HTTP is in here: `chat/` and `realtime/` are two wires on it, and neither
//! knows the other. A wire asks [`Admission`] for a place, gives what it hears to a [`Pacer`] and its due frames to a
//! [`CallInput`], takes from [`CallEvents`] what there is to say, and hands the [`Ending`] on in its own words.

mod admission;
mod cast;
mod ending;
mod events;
mod input;
mod lost_audio;
mod loudness;
mod off_worker;
mod pacer;
mod playout;
mod pulse;
mod quota;
mod rate_limits;
mod recorder;
mod request;
mod s16;
mod slots;
mod standing_queue;
mod steering;
#[cfg(test)]
mod tests;
mod waiting_line;

pub(crate) use admission::{Admission, Admitted, NotAdmitted, Turn, turned_away};
pub(crate) use cast::Cast;
pub(crate) use ending::{Ending, out_of_time};
pub(crate) use events::{CallEvents, Said};
pub(crate) use input::CallInput;
pub(crate) use lost_audio::LostAudio;
pub(crate) use loudness::{is_quiet, loudness};
pub(crate) use off_worker::off_worker;
pub(crate) use pacer::{DueFrame, Pace, Pacer};
pub(crate) use playout::Playout;
pub(crate) use pulse::Pulse;
pub(crate) use quota::{OverQuota, Quotas, Share};
pub(crate) use rate_limits::RateLimits;
pub(crate) use recorder::Recorder;
pub(crate) use request::{CallRequest, NamedFormat};
pub(crate) use s16::{from_s16, to_s16};
pub(crate) use slots::{CallNumbers, Slots};
pub(crate) use waiting_line::{Ticket, WaitingLine};
