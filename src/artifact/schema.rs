//! The JSON Schemas of everything that is written for programs, made from the types.
//!
//! Main functions: [`json_schema`], [`ab_json_schema`]. The committed files are checked against them by
//! a test; `UPDATE_SCHEMA=1 cargo test --test it report` writes them anew.

use serde_json::Value;

use super::{AbReport, BisectReport, Calibration, CompareReport, Report, SuiteReport};

/// Where the schema is committed, from the repository's root.
pub const SCHEMA_FILE: &str = "schema/bench-ci.report.1.json";

/// The same for `suite.json`.
pub const SUITE_SCHEMA_FILE: &str = "schema/bench-ci.suite.1.json";

/// Where the schema of `ab.json` is committed.
pub const AB_SCHEMA_FILE: &str = "schema/bench-ci.ab.1.json";

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

/// JSON Schema of `ab.json`, likewise.
#[must_use]
pub fn ab_json_schema() -> Value {
    finished(schemars::schema_for!(AbReport).to_value(), super::AB_SCHEMA)
}

/// Where the schema of `calibration.json` is committed.
pub const CALIBRATION_SCHEMA_FILE: &str = "schema/bench-ci.calibration.1.json";

/// JSON Schema of `calibration.json`, likewise.
#[must_use]
pub fn calibration_json_schema() -> Value {
    finished(schemars::schema_for!(Calibration).to_value(), super::CALIBRATION_SCHEMA)
}

/// Where the schema of `bisect.json` is committed.
pub const BISECT_SCHEMA_FILE: &str = "schema/bench-ci.bisect.1.json";

/// JSON Schema of `bisect.json`, likewise.
#[must_use]
pub fn bisect_json_schema() -> Value {
    finished(schemars::schema_for!(BisectReport).to_value(), super::BISECT_SCHEMA)
}

/// Where the schema of `compare --format json` is committed.
pub const COMPARE_SCHEMA_FILE: &str = "schema/bench-ci.compare.1.json";

/// JSON Schema of `compare --format json`, likewise. What only pairs have is absent without them.
#[must_use]
pub fn compare_json_schema() -> Value {
    named(schemars::schema_for!(CompareReport).to_value(), super::COMPARE_SCHEMA)
}

fn finished(mut schema: Value, name: &str) -> Value {
    require_nullable(&mut schema);
    named(schema, name)
}

fn named(mut schema: Value, name: &str) -> Value {
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
