//! JSON for programs and for people: indented, with each column of numbers on one line.
//!
//! Main function: [`pretty`]. A report has columns of hundreds of numbers; one a line they would bury
//! all else, and their indentation would be most of the file.

use serde_json::Value;

/// The text of a value, without a final line end.
#[must_use]
pub(super) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            text.push('{');
            for (position, (name, value)) in object.iter().enumerate() {
                begin_line(position, depth + 1, text);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push_str(": ");
                write(value, depth + 1, text);
            }
            end_line(depth, text);
            text.push('}');
        }
        Value::Array(items) if items.iter().all(|item| item.is_number() || item.is_null()) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            text.push_str(&format!("[{}]", items.join(", ")));
        }
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                begin_line(position, depth + 1, text);
                write(item, depth + 1, text);
            }
            end_line(depth, text);
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn begin_line(position: usize, depth: usize, text: &mut String) {
    if position > 0 {
        text.push(',');
    }
    end_line(depth, text);
}

fn end_line(depth: usize, text: &mut String) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_stand_on_one_line_and_all_else_as_serde_json_has_it() {
        let value =
            json!({"a \"b\"": [1, null, 2.5], "c": [], "d": {}, "e": ["x", 1], "f": [{"g": true}]});
        let text = pretty(&value);
        assert_eq!(
            text,
            "{\n  \"a \\\"b\\\"\": [1, null, 2.5],\n  \"c\": [],\n  \"d\": {},\n  \"e\": [\n    \"x\",\n    1\n  ],\n  \
             \"f\": [\n    {\n      \"g\": true\n    }\n  ]\n}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn what_has_no_column_is_as_serde_json_writes_it() {
        let value = json!({"a": 1e300, "b": -0.5, "c": {"d": "é\n\u{7}", "e": [["x"], ["y"]]}});
        assert_eq!(pretty(&value), serde_json::to_string_pretty(&value).unwrap());
    }
}
