//! Reading a transcript file.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::words::frame_in_words;

/// One recorded case.
#[derive(Clone, Debug)]
pub struct Transcript {
    pub name: String,
    /// MTU of the links eth0 and eth1.
    pub mtu: [u32; 2],
    pub steps: Vec<Step>,
}

/// One step, with the milliseconds since the director began.
#[derive(Clone, Debug)]
pub struct Step {
    pub at: u64,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// A command, and what it printed.
    Ipvsadm {
        arguments: String,
        status: i32,
        stdout: String,
        stderr: String,
    },
    /// Something written to a setting, and what came of it where that was recorded.
    Setting {
        name: String,
        value: String,
        outcome: Option<Outcome>,
    },
    /// A file under `/proc/net`, and what it held.
    Proc {
        name: String,
        stdout: String,
    },
    Mark {
        mark: u32,
        rule: String,
    },
    In {
        link: String,
        frame: Vec<u8>,
    },
    Out {
        link: String,
        frame: Vec<u8>,
    },
    Nothing,
    Sleep,
    Note(String),
}

/// How the kernel took what was written to a setting.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The name of the error.
    pub error: Option<String>,
    /// What was read back.
    pub reads: String,
}

/// Why a file is no transcript.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("is not a packed recording, or of another version, or cut off")]
    Packed,
    #[error("is not JSON of a transcript's form: {0}")]
    Json(#[from] serde_json::Error),
    #[error("step {step}: {what}")]
    Step { step: usize, what: String },
}

#[derive(Deserialize)]
struct File {
    name: String,
    #[serde(default)]
    mtu: Mtu,
    /// Seconds from the network namespace's beginning to the first step.
    #[serde(default)]
    age: f64,
    steps: Vec<Value>,
}

#[derive(Deserialize)]
struct Mtu {
    eth0: u32,
    eth1: u32,
}

impl Default for Mtu {
    fn default() -> Mtu {
        Mtu { eth0: 1500, eth1: 1500 }
    }
}

impl Transcript {
    /// # Errors
    /// The file cannot be read, or is not a transcript.
    pub fn load(path: &Path) -> Result<Transcript, LoadError> {
        Transcript::parse(&std::fs::read_to_string(path)?)
    }

    /// The transcript in the form that it can be read from.
    pub fn to_json(&self) -> String {
        let mtu = json!({"eth0": self.mtu[0], "eth1": self.mtu[1]});
        let steps: Vec<String> = self.steps.iter().map(|step| step_to_json(step).to_string()).collect();
        format!("{{\"name\": {}, \"mtu\": {mtu}, \"steps\": [\n{}\n]}}", json!(self.name), steps.join(",\n"))
    }

    /// How many frames were handed in.
    pub fn frames(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.action, Action::In { .. })).count()
    }

    /// # Errors
    /// The text is not a transcript.
    pub fn parse(text: &str) -> Result<Transcript, LoadError> {
        let file: File = serde_json::from_str(text)?;
        let steps = file
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| parse_step(step, file.age).map_err(|what| LoadError::Step { step: index + 1, what }))
            .collect::<Result<_, _>>()?;
        Ok(Transcript { name: file.name, mtu: [file.mtu.eth0, file.mtu.eth1], steps })
    }
}

fn parse_step(step: &Value, age: f64) -> Result<Step, String> {
    let text = |key: &str| step.get(key).and_then(Value::as_str).map(str::to_owned);
    let frame = || text("frame").and_then(|hex| unhex(&hex)).ok_or("has no frame in hexadecimal digits");
    let seconds = step.get("t").and_then(Value::as_f64).unwrap_or(0.0);
    let action = if let Some(arguments) = text("ipvsadm") {
        Action::Ipvsadm {
            arguments,
            status: step.get("rc").and_then(Value::as_i64).unwrap_or(0) as i32,
            stdout: text("stdout").unwrap_or_default(),
            stderr: text("stderr").unwrap_or_default(),
        }
    } else if let Some(name) = text("sysctl") {
        let value = match step.get("value") {
            Some(Value::String(value)) => value.clone(),
            Some(value) => value.to_string(),
            None => return Err("sets a sysctl to no value".into()),
        };
        let outcome = text("reads")
            .map(|reads| Outcome { error: step.get("errno").and_then(Value::as_str).map(str::to_owned), reads });
        Action::Setting { name, value, outcome }
    } else if let Some(name) = text("proc") {
        Action::Proc { name, stdout: text("stdout").unwrap_or_default() }
    } else if let Some(mark) = step.get("mark").and_then(Value::as_u64) {
        Action::Mark { mark: mark as u32, rule: text("match").unwrap_or_default() }
    } else if let Some(link) = text("in") {
        Action::In { link, frame: frame()? }
    } else if let Some(link) = text("out") {
        Action::Out { link, frame: frame()? }
    } else if step.get("nothing").is_some() {
        Action::Nothing
    } else if step.get("sleep").is_some() {
        Action::Sleep
    } else if let Some(note) = text("note") {
        Action::Note(note)
    } else {
        return Err(format!("is of no known kind: {step}"));
    };
    Ok(Step { at: ((age + seconds) * 1000.0).round() as u64, action })
}

fn step_to_json(step: &Step) -> Value {
    let mut value = match &step.action {
        Action::Ipvsadm { arguments, status, stdout, stderr } => {
            json!({"ipvsadm": arguments, "rc": status, "stdout": stdout, "stderr": stderr})
        }
        Action::Setting { name, value, outcome: None } => json!({"sysctl": name, "value": value}),
        Action::Setting { name, value, outcome: Some(outcome) } => {
            json!({"sysctl": name, "value": value, "errno": outcome.error, "reads": outcome.reads})
        }
        Action::Proc { name, stdout } => json!({"proc": name, "stdout": stdout}),
        Action::Mark { mark, rule } => json!({"mark": mark, "match": rule}),
        Action::In { link, frame } => json!({"in": link, "frame": hex(frame), "note": frame_in_words(frame)}),
        Action::Out { link, frame } => json!({"out": link, "frame": hex(frame), "note": frame_in_words(frame)}),
        Action::Nothing => json!({"nothing": true}),
        Action::Sleep => json!({"sleep": 0}),
        Action::Note(note) => json!({"note": note}),
    };
    value["t"] = json!(step.at as f64 / 1000.0);
    value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len() / 2).map(|index| u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()).collect()
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Ipvsadm { arguments, .. } => write!(out, "ipvsadm {arguments}"),
            Action::Setting { name, value, .. } => write!(out, "{name} = {}", value.escape_debug()),
            Action::Proc { name, .. } => write!(out, "/proc/net/{name}"),
            Action::Mark { mark, rule } => write!(out, "mark {mark} for {rule}"),
            Action::In { link, frame } => write!(out, "a frame of {} bytes in by {link}", frame.len()),
            Action::Out { link, frame } => write!(out, "a frame of {} bytes out by {link}", frame.len()),
            Action::Nothing => write!(out, "nothing"),
            Action::Sleep => write!(out, "a pause"),
            Action::Note(note) => write!(out, "{note}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_json_is_read_again() {
        let text = r#"{"name": "x", "steps": [{"t": 0.5, "in": "eth0", "frame": "00ff"}, {"t": 1.25, "nothing": true},
            {"t": 2, "ipvsadm": "-Ln", "rc": 0, "stdout": "a\n", "stderr": ""}, {"t": 2, "sysctl": "a", "value": "1"}]}"#;
        let transcript = Transcript::parse(text).unwrap();
        let again = Transcript::parse(&transcript.to_json()).unwrap();
        assert_eq!(format!("{transcript:?}"), format!("{again:?}"));
    }

    #[test]
    fn a_transcript_is_read_or_refused_with_its_step() {
        let text = r#"{"name": "x", "mtu": {"eth0": 1500, "eth1": 1400}, "steps": [
            {"t": 0.5, "in": "eth0", "frame": "00ff"}, {"t": 0.6, "nothing": true}]}"#;
        let transcript = Transcript::parse(text).unwrap();
        assert_eq!(transcript.mtu, [1500, 1400]);
        assert!(
            matches!(&transcript.steps[0], Step { at: 500, action: Action::In { frame, .. } } if frame[..] == [0, 255])
        );
        let error = Transcript::parse(r#"{"name": "x", "steps": [{"in": "eth0", "frame": "0"}]}"#).unwrap_err();
        assert!(error.to_string().starts_with("step 1"), "{error}");
    }
}
