//! The JSON Schemas of `report.json` and `suite.json`, made from the types.
//!
//! Main function: [`json_schema`] and [`suite_json_schema`]. The committed files are checked against them by a test;
//! `UPDATE_SCHEMA=1 cargo test --test it report` writes them anew.

use serde_json::Value;

use super::{Report, SuiteReport};

/// Where the schema is committed, from the repository's root.
pub const SCHEMA_FILE: &str = "schema/bench-ci.report.1.json";

/// The same for `suite.json`.
pub const SUITE_SCHEMA_FILE: &str = "schema/bench-ci.suite.1.json";

/// JSON Schema of `report.json`, draft 2020-12.
#[must_use]
pub fn json_schema() -> Value {
    finished(schemars::schema_for!(Report).to_value(), super::SCHEMA)
}

/// JSON Schema of `suite.json`, draft 2020-12.
#[must_use]
pub fn suite_json_schema() -> Value {
    finished(schemars::schema_for!(SuiteReport).to_value(), super::SUITE_SCHEMA)
}

fn finished(mut schema: Value, name: &str) -> Value {
    require_nullable(&mut schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(
            "schema".to_owned(),
            serde_json::json!({"const": name, "description": "The name of this version."}),
        );
    }
    schema
}

/// Makes every field required but `unknown`. For reading, serde lets an `Option` be absent, and so
/// schemars calls it optional; what is written always has it, as a value or as `null`.
fn require_nullable(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let names: Option<Vec<Value>> =
                object.get("properties").and_then(Value::as_object).map(|all| {
                    all.keys().filter(|name| *name != "unknown").cloned().map(Value::from).collect()
                });
            if let Some(names) = names {
                object.insert("required".to_owned(), Value::from(names));
            }
            object.values_mut().for_each(require_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(require_nullable),
        _ => {}
    }
}
