//! `ipvsadm` with any words, and `ipvsadm-restore` with any file: whatever is said, what
//! `ipvsadm-save` then prints leads to the same table again.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use crate::base::{Port, Protocol};
use crate::control::message::{Reply, Request};
use crate::ipvsadm::{self, Io, Names, Program};
use crate::replay::lab::{Lab, Way};
use crate::replay::transcript::Action;
use crate::table::{ForwardingMethod, ServiceFlags};

/// A machine that knows no names.
pub struct NoNames;

impl Names for NoNames {
    fn address(&mut self, _host: &str) -> Option<Ipv4Addr> {
        None
    }

    fn host(&mut self, _address: IpAddr) -> Option<String> {
        None
    }

    fn port(&mut self, _service: &str, _protocol: Protocol) -> Option<Port> {
        None
    }

    fn service(&mut self, _port: Port, _protocol: Protocol) -> Option<String> {
        None
    }
}

/// One run: what it printed, and its exit status.
pub fn ipvsadm(lab: &Rc<RefCell<Lab>>, program: Program, words: &[&str], input: &[u8]) -> (String, u8) {
    let words: Vec<OsString> = ["ipvsadm"].iter().chain(words).map(OsString::from).collect();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut input = input;
    let mut io = Io { input: &mut input, output: &mut output, errors: &mut errors };
    let status = ipvsadm::run(program, &words, &mut io, &mut NoNames, &mut || Ok(Box::new(Way(lab.clone()))));
    assert!(String::from_utf8(errors).is_ok(), "messages are text");
    (String::from_utf8(output).expect("output is text"), status)
}

pub fn run(data: &[u8]) {
    let Some((&program, rest)) = data.split_first() else { return };
    let lab = Rc::new(RefCell::new(Lab::sized([1500, 1500], 256)));
    if program & 1 == 0 {
        // A line is a command, and its words are what stands between blanks.
        for line in String::from_utf8_lossy(rest).lines().take(64) {
            let words: Vec<&str> = line.split(' ').collect();
            ipvsadm(&lab, Program::Ipvsadm, &words, b"-A -t 1.2.3.4:5\n");
        }
    } else {
        ipvsadm(&lab, Program::Restore, &[], rest);
    }
    lab.borrow_mut().director.fleet().engine.check_invariants();
    for listing in [&["-L"][..], &["-Ln", "--stats"], &["-Ln", "--rate"], &["-Ln", "--thresholds"], &["-Lnc"]] {
        assert_eq!(ipvsadm(&lab, Program::Ipvsadm, listing, b"").1, 0, "{listing:?}");
    }
    let (saved, status) = ipvsadm(&lab, Program::Save, &["-n"], b"");
    assert_eq!(status, 0);
    if is_restorable(&lab) {
        let again = Rc::new(RefCell::new(Lab::sized([1500, 1500], 256)));
        ipvsadm(&again, Program::Restore, &[], saved.as_bytes());
        let saved_again = ipvsadm(&again, Program::Save, &["-n"], b"").0;
        // What the original compares servers by is no order, so theirs may be another.
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
        assert_eq!(lines(&saved_again), lines(&saved), "saved, restored and saved again");
    }
}

/// Whether everything in the table can be said in a saved file, as the original says it: large
/// marks come out negative, a flag without a name as what is refused.
fn is_restorable(lab: &Rc<RefCell<Lab>>) -> bool {
    let Ok(Reply::Services(services)) = lab.borrow_mut().ask(Request::Services) else { return false };
    services.iter().all(|service| {
        let Ok(Reply::Destinations(servers)) = lab.borrow_mut().ask(Request::Destinations { service: service.key })
        else {
            return false;
        };
        let unnamed =
            service.config.flags.has(ServiceFlags::SCHED_3) && matches!(service.config.scheduler.as_str(), "sh" | "mh");
        !unnamed
            && service.key.mark().is_none_or(|mark| i32::try_from(mark).is_ok())
            && servers.iter().all(|server| server.config.method != ForwardingMethod::Local)
    })
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for transcript in super::recordings() {
        let commands: Vec<&str> = transcript
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Ipvsadm { arguments, .. } => Some(arguments.trim()),
                _ => None,
            })
            .take(64)
            .collect();
        if !commands.is_empty() {
            seeds.push([&[0], commands.join("\n").as_bytes()].concat());
            seeds.push([&[1], commands.join("\n").as_bytes(), b"\n"].concat());
        }
    }
    // What the original was asked, each case a seed.
    for case in include_str!("../ipvsadm/tests/recorded.jsonl").lines() {
        let Ok(case) = serde_json::from_str::<serde_json::Value>(case) else { continue };
        let steps = case["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let lines: Vec<String> = steps
            .iter()
            .filter_map(|step| Some(step["ipvsadm"].as_array()?.iter().filter_map(|word| word.as_str())))
            .map(|words| words.collect::<Vec<_>>().join(" "))
            .collect();
        seeds.push([&[0], lines.join("\n").as_bytes()].concat());
    }
    seeds
}
