//! The JSON Schemas of `report.json` and `calibration.json`, made from the types.
//!
//! Main function: [`json_schema`]. The committed file is checked against it by a test;
//! `UPDATE_SCHEMA=1 cargo test --test it report` writes it anew.

use serde_json::Value;

use super::{Calibration, Report};

/// Where the schema is committed, from the repository's root.
pub const SCHEMA_FILE: &str = "schema/bench-ci.report.1.json";

/// Where that of `calibration.json` is.
pub const CALIBRATION_SCHEMA_FILE: &str = "schema/bench-ci.calibration.1.json";

/// JSON Schema, draft 2020-12.
#[must_use]
pub fn json_schema() -> Value {
    named(schemars::schema_for!(Report).to_value(), super::SCHEMA)
}

/// The same of `calibration.json`.
#[must_use]
pub fn calibration_json_schema() -> Value {
    named(schemars::schema_for!(Calibration).to_value(), super::CALIBRATION_SCHEMA)
}

fn named(mut schema: Value, name: &str) -> Value {
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
