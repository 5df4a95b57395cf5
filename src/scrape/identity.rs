//! Which server this is, in its own words: `/props`, `/slots`, `/v1/models`.
//!
//! Main type: [`ServerIdentity`]. Asked once before the load. Every part may be missing; servers of
//! other makers have only the last.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::http::ControlPlane;

/// Each question is answered at once by a server that has an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// What a server says about itself; whatever it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ServerIdentity {
    /// How many requests it works on at once (`/props`, else the length of `/slots`).
    pub total_slots: Option<u32>,
    /// Tokens of context of one slot (`/slots`, else `/props`).
    pub slot_context: Option<u64>,
    /// The model file it says it loaded.
    pub model_path: Option<String>,
    /// Its build, such as `b4242-abcdef0`.
    pub build: Option<String>,
    /// Whether it has a chat template; `None` if `/props` is missing.
    pub has_chat_template: Option<bool>,
    /// `id` of the first model of `/v1/models`: what a request's `model` may be.
    pub model_id: Option<String>,
    /// Tokens of context the model was trained with (`meta.n_ctx_train`).
    pub model_context: Option<u64>,
    /// Size of the model's vocabulary (`meta.n_vocab`).
    pub vocabulary: Option<u32>,
    /// What it did not answer, and how, one entry a path; for the log.
    pub missing: Vec<String>,
    /// Why no connection could be made for any of the questions; `None` if one could.
    pub unreachable: Option<String>,
    /// What to do about that, where it is known.
    pub cure: Option<&'static str>,
    /// None of the questions had an answer in HTTP, in time or not.
    pub mute: bool,
}

impl ServerIdentity {
    /// Asks all three, at the same time. Never fails: what is missing is told.
    pub async fn ask(control: &ControlPlane) -> Self {
        let (props, slots, models) = tokio::join!(
            json_of(control, "/props"),
            json_of(control, "/slots"),
            json_of(control, "/v1/models"),
        );
        let asked = [&props, &slots, &models];
        let unreachable = asked
            .iter()
            .map(|result| result.as_ref().err()?.unreachable.clone())
            .collect::<Option<Vec<_>>>()
            // The one that says most: of three at once, some are only called off with another.
            .and_then(|causes| causes.into_iter().max_by_key(|(_, cure)| cure.is_some()));
        let (unreachable, cure) = unreachable.unzip();
        let missing = asked.iter().filter_map(|result| Some(result.as_ref().err()?.words.clone()));
        let missing = missing.collect();
        let none = Value::Null;
        let read = |result: &Result<Value, NoAnswer>| result.as_ref().unwrap_or(&none).clone();
        let cure = cure.flatten();
        let mute = asked.iter().all(|result| result.as_ref().is_err_and(|no| no.is_silence));
        Self {
            missing,
            unreachable,
            cure,
            mute,
            ..Self::read(&read(&props), &read(&slots), &read(&models))
        }
    }

    /// Reads the three answers; `null` stands for a missing one.
    #[must_use]
    pub fn read(props: &Value, slots: &Value, models: &Value) -> Self {
        let text =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let settings = &props["default_generation_settings"];
        let slot_list = slots.as_array();
        let model = &models["data"][0];
        Self {
            total_slots: props["total_slots"]
                .as_u64()
                .or_else(|| slot_list.map(|slots| slots.len() as u64))
                .and_then(|slots| u32::try_from(slots).ok())
                .filter(|slots| *slots > 0),
            slot_context: slots[0]["n_ctx"]
                .as_u64()
                .or_else(|| settings["n_ctx"].as_u64())
                .filter(|context| *context > 0),
            model_path: text(&props["model_path"]).or_else(|| text(&settings["model"])),
            build: text(&props["build_info"]),
            has_chat_template: props.is_object().then(|| text(&props["chat_template"]).is_some()),
            model_id: text(&model["id"]),
            model_context: model["meta"]["n_ctx_train"]
                .as_u64()
                .or_else(|| model["max_model_len"].as_u64()),
            vocabulary: model["meta"]["n_vocab"]
                .as_u64()
                .and_then(|size| u32::try_from(size).ok())
                .filter(|size| *size > 0),
            missing: Vec::new(),
            unreachable: None,
            cure: None,
            mute: false,
        }
    }
}

/// A question without a usable answer.
struct NoAnswer {
    words: String,
    /// There was no answer at all.
    is_silence: bool,
    /// Why there was not even a connection; `None` if there was one.
    unreachable: Option<(String, Option<&'static str>)>,
}

async fn json_of(control: &ControlPlane, path: &str) -> Result<Value, NoAnswer> {
    let answered = |words: String| NoAnswer { words, unreachable: None, is_silence: false };
    match control.get(path, LIMIT).await {
        Ok(answer) if answer.status == 200 => answer
            .json()
            .ok_or_else(|| answered(format!("{path} answered something else than JSON"))),
        Ok(answer) => Err(answered(format!("{path} answered {}", answer.status))),
        Err(error) => Err(NoAnswer {
            words: format!("{path}: {error}"),
            is_silence: true,
            unreachable: error.is_connect().then(|| (error.to_string(), error.cure())),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_llama_server_is_read_whole() {
        let identity = ServerIdentity::read(
            &json!({
                "total_slots": 4, "model_path": "/m.gguf", "chat_template": "{{x}}", "build_info": "b4242-abc",
                "default_generation_settings": {"n_ctx": 512},
            }),
            &json!([{"id": 0, "n_ctx": 1024}, {"id": 1, "n_ctx": 1024}]),
            &json!({"data": [{"id": "m.gguf", "meta": {"n_ctx_train": 2048}}]}),
        );
        assert_eq!((identity.total_slots, identity.slot_context), (Some(4), Some(1024)));
        assert_eq!(identity.model_path.as_deref(), Some("/m.gguf"));
        assert_eq!(identity.build.as_deref(), Some("b4242-abc"));
        assert_eq!(identity.has_chat_template, Some(true));
        assert_eq!(
            (identity.model_id.as_deref(), identity.model_context),
            (Some("m.gguf"), Some(2048))
        );
    }

    #[test]
    fn the_recorded_answers_are_read() {
        let json = |text| serde_json::from_str::<Value>(text).expect("recorded JSON");
        let identity = ServerIdentity::read(
            &json(include_str!("../../tests/fixtures/llama-server/props-11434.json")),
            &json(include_str!("../../tests/fixtures/llama-server/slots-11434.json")),
            &json(include_str!("../../tests/fixtures/llama-server/models-11434.json")),
        );
        assert_eq!((identity.total_slots, identity.slot_context), (Some(4), Some(4096)));
        assert_eq!(identity.model_path.as_deref(), Some("tiny.gguf"));
        assert_eq!(identity.has_chat_template, Some(true));
        assert_eq!(identity.model_id.as_deref(), Some("tiny.gguf"));
        assert_eq!(identity.model_context, Some(4096));
        assert!(identity.vocabulary.is_some());
        assert!(identity.build.is_some());
    }

    #[test]
    fn missing_parts_are_none_and_never_zero() {
        let nothing = ServerIdentity::read(&Value::Null, &Value::Null, &Value::Null);
        assert_eq!(nothing, ServerIdentity::default());
        let only_slots = ServerIdentity::read(&Value::Null, &json!([{"n_ctx": 256}]), &Value::Null);
        assert_eq!((only_slots.total_slots, only_slots.slot_context), (Some(1), Some(256)));
        let strange = ServerIdentity::read(&json!([1]), &json!({"a": 1}), &json!("x"));
        assert_eq!(strange, ServerIdentity::default());
    }
}
