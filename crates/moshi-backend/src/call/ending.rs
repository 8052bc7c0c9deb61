//! How a call ends, and when it must.

use std::time::Duration;

use moshi_protocol::CloseReason;

use super::pulse::Pulse;
use crate::shutdown::CallGuard;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The caller hung up or vanished.
    Left,
    /// We end it, with words if there is more to say than the reason.
    Close(CloseReason, Option<String>),
}

impl Ending {
    /// We end the call for a reason that explains itself.
    pub(crate) fn because(reason: CloseReason) -> Self {
        Self::Close(reason, None)
    }

    /// Something of ours failed: the log hears `why`, which may speak of devices and files, and the caller hears `what`.
    pub(crate) fn failed(what: &str, why: &dyn std::fmt::Display) -> Self {
        tracing::error!(%why, "{what}");
        Self::Close(CloseReason::Internal, Some(what.to_owned()))
    }

    /// The model failed, and said `why`.
    pub(crate) fn model_failed(why: &str) -> Self {
        Self::failed("the model failed; call again", &why)
    }

    /// A short name, good as a metrics label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Close(reason, _) => reason.name(),
        }
    }
}

/// Waits until a call has to end whatever its two sides say: the server ends, or the call has taken its `longest` time
/// since its caller was greeted, where zero is no limit.
pub(crate) async fn out_of_time(longest: Duration, pulse: &Pulse, guard: &mut CallGuard) -> Ending {
    let over = async {
        pulse.greeted().await;
        tokio::time::sleep(longest).await;
    };
    tokio::select! {
        () = guard.closing() => {
            let (reason, words) = guard.reason();
            Ending::Close(reason, words)
        }
        () = over, if !longest.is_zero() => Ending::because(CloseReason::TimeLimit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::ShutdownControl;

    #[tokio::test]
    async fn a_call_ends_when_its_time_is_over_and_when_the_server_does() {
        let control = ShutdownControl::new();
        let mut guard = control.shutdown().enter().unwrap();
        let pulse = Pulse::new();
        pulse.greet();
        let ending = out_of_time(Duration::from_millis(1), &pulse, &mut guard).await;
        assert_eq!((ending.label(), &ending), ("time_limit", &Ending::because(CloseReason::TimeLimit)));
        control.shutdown().give_up();
        let ending = out_of_time(Duration::ZERO, &pulse, &mut guard).await;
        let words = Some("the model makes no progress".to_owned());
        assert_eq!(ending, Ending::Close(CloseReason::Internal, words));
    }
}
