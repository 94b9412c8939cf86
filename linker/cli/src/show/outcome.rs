//! How an operation ended.

use serde_json::Value;
use towpath_linker::operation::OperationView;

/// The verdict, what the verb found, and the next command.
pub fn text(view: &OperationView, _colours: bool) -> String {
    let verdict = match (&view.problem, view.exit_code) {
        (Some(problem), _) => format!("{} of {} failed: {problem}", view.verb, view.family),
        (None, _) => format!("{} of {}: done", view.verb, view.family),
    };
    let found = match &view.outcome {
        Value::Null => String::new(),
        outcome => format!("\n\n{outcome:#}"),
    };
    format!("{verdict}{found}\n\ntowpath status {}", view.family)
}
