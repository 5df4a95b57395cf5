//! One prompt: what is said, and what the dataset knows about it.
//!
//! Main types: [`Prompt`] and [`Content`]. What becomes of it in a request is `plan::body`'s
//! business; nothing is read or counted by a server here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::recipe::Recipe;
use super::words::words;

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What is asked.
    pub content: Content,
    /// Its name in the dataset (`id`, `custom_id`, `question_id`); `None` where it has none.
    pub id: Option<String>,
    /// The answer's budget in tokens for this prompt alone; `None`: the workload's.
    pub max_tokens: Option<u32>,
    /// The answer is to be exactly that long (`ignore_eos`), where the server can do it.
    pub forced: bool,
    /// What the user says after each answer, in order: the further turns of a conversation. Empty
    /// where one request is all.
    pub turns: Vec<String>,
    /// When a trace sends it, from the start of measuring; `None` outside of traces.
    pub arrival: Option<Duration>,
    /// Its length in the server's tokens, everything included that the server adds, as the server
    /// counted it; `None` where nobody asked.
    pub tokens: Option<u64>,
    /// Its length in the words of script.js; of token ids and of a recipe, in tokens.
    pub prompt_words: u64,
    /// Length of the dataset's own answer in the same measure; `None` where it has none.
    pub answer_words: Option<u64>,
}

/// What a prompt consists of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// What a user says, unchanged; a lone surrogate of the source is U+FFFD.
    Text(String),
    /// A whole chat, for the chat route only; never empty.
    Chat(Vec<ChatMessage>),
    /// The vocabulary's ids, for the completion routes only; never empty.
    Tokens(Vec<u32>),
    /// What is to be made once the server's vocabulary is known; never comes to a request.
    Recipe(Recipe),
}

/// One message of a chat, sent as it stands in the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Such as `system`, `user` or `assistant`.
    pub role: String,
    /// A text, or the list of parts that the chat interface also takes; null where only tools are
    /// called.
    #[serde(default)]
    pub content: Value,
    /// Whatever else it has, such as `name` or `tool_calls`, in its order.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl ChatMessage {
    /// A message that is a plain text.
    #[must_use]
    pub fn text(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: Value::String(content.into()), rest: Map::new() }
    }

    /// Its texts, without what is no text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let parts = self.content.as_array().map_or(&[][..], Vec::as_slice);
        let of_parts = parts.iter().filter_map(|part| part.get("text")?.as_str());
        self.content.as_str().into_iter().chain(of_parts)
    }

    /// All that it says; `None` where it holds anything that is no text.
    pub(crate) fn plain_text(&self) -> Option<String> {
        let parts = self.content.as_array().map_or(1, Vec::len);
        let texts: Vec<&str> = self.texts().collect();
        (texts.len() == parts).then(|| texts.join("\n"))
    }
}

impl Prompt {
    /// A prompt of this content, about which nothing else is known.
    #[must_use]
    pub fn new(content: Content) -> Self {
        let prompt_words = content.length();
        Self {
            content,
            id: None,
            max_tokens: None,
            forced: false,
            turns: Vec::new(),
            arrival: None,
            tokens: None,
            prompt_words,
            answer_words: None,
        }
    }

    /// A prompt that is a plain text.
    #[must_use]
    pub fn of_text(text: impl Into<String>) -> Self {
        Self::new(Content::Text(text.into()))
    }

    /// The text; `None` of anything else.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            Content::Chat(_) | Content::Tokens(_) | Content::Recipe(_) => None,
        }
    }

    /// What its user says last; `None` where that is no plain text.
    #[must_use]
    pub fn last_words(&self) -> Option<String> {
        match &self.content {
            Content::Text(text) => Some(text.clone()),
            Content::Chat(messages) => {
                messages.iter().rfind(|message| message.role == "user")?.plain_text()
            }
            Content::Tokens(_) | Content::Recipe(_) => None,
        }
    }

    /// Adds everything that makes a difference to what is sent. A bare text adds its length in
    /// bytes (64 bits, little endian) and itself; anything else begins with a length that no text
    /// has, and its kind, so that no two prompts add the same bytes.
    pub(super) fn add_to(&self, digest: &mut Sha256) {
        let Self {
            content,
            id: _,
            max_tokens,
            forced,
            turns,
            arrival,
            tokens: _,
            prompt_words: _,
            answer_words: _,
        } = self;
        let mut part = |kind: Option<u8>, bytes: &[u8]| {
            if let Some(kind) = kind {
                digest.update(u64::MAX.to_le_bytes());
                digest.update([kind]);
            }
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        match content {
            Content::Text(text) => part(None, text.as_bytes()),
            Content::Chat(messages) => {
                let json = serde_json::to_vec(messages).expect("messages are JSON");
                part(Some(b'c'), &json);
            }
            Content::Tokens(ids) => {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                part(Some(b't'), &bytes);
            }
            Content::Recipe(recipe) => {
                part(Some(b'r'), &recipe.seed.to_le_bytes());
                for block in &recipe.blocks {
                    part(Some(b'b'), format!("{:?} {}", block.key, block.tokens).as_bytes());
                }
            }
        }
        if let Some(max_tokens) = max_tokens {
            part(Some(b'm'), &max_tokens.to_le_bytes());
        }
        if *forced {
            part(Some(b'f'), &[]);
        }
        for turn in turns {
            part(Some(b'u'), turn.as_bytes());
        }
        if let Some(arrival) = arrival {
            part(Some(b'a'), &arrival.as_nanos().to_le_bytes());
        }
    }
}

impl Content {
    /// Words of a text, of all texts of a chat together; of token ids, their number.
    fn length(&self) -> u64 {
        match self {
            Content::Text(text) => words(text),
            Content::Chat(messages) => {
                messages.iter().flat_map(ChatMessage::texts).map(words).sum()
            }
            Content::Tokens(ids) => ids.len() as u64,
            Content::Recipe(recipe) => recipe.tokens(),
        }
    }

    /// No tokenizer makes more tokens of it than this, a chat template apart.
    #[must_use]
    pub fn most_tokens(&self) -> u64 {
        match self {
            Content::Text(text) => text.len() as u64,
            Content::Chat(messages) => {
                messages.iter().flat_map(ChatMessage::texts).map(|text| text.len() as u64).sum()
            }
            Content::Tokens(ids) => ids.len() as u64,
            Content::Recipe(recipe) => recipe.tokens(),
        }
    }
}
