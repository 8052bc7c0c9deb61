//! What a session is told before its caller is heard, as data.

/// The steps of a prompt. They run in the batch with everybody else's; nothing of them is told to the caller.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prompt {
    /// One a step.
    pub frames: Vec<PromptFrame>,
}

/// One step of a prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptFrame {
    /// The codes heard, one for each stream that the model hears; -1 for nothing.
    pub heard: Vec<i32>,
    /// What the frame that this step begins must say: text, then a code for each stream that the model writes. Empty where
    /// all is left to the model.
    pub said: Vec<Forced>,
    /// The temporal input of this step in place of what the streams say, where it alone is known (a published voice);
    /// as wide as the model.
    pub input: Option<Vec<f32>>,
}

/// What one stream must say in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forced {
    /// What the model draws.
    #[default]
    Free,
    /// Nothing.
    Nothing,
    /// This token or code.
    Token(i32),
}
