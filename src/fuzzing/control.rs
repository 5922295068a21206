//! The control socket's bytes: decoded, carried out, answered. Every answer can be sent.

use crate::control::message::{Answer, Request};
use crate::control::socket::{decode, encode};
use crate::replay::lab::Lab;

/// More requests than that teach nothing new.
const MOST_REQUESTS: usize = 64;

pub fn run(data: &[u8]) {
    let mut lab = Lab::sized([1500, 1500], 256);
    let mut rest = data;
    for _ in 0..MOST_REQUESTS {
        let Ok(Some((request, used))) = decode::<Request>(rest) else { break };
        assert!((5..=rest.len()).contains(&used) || used == 4, "{used} of {} bytes", rest.len());
        rest = &rest[used..];
        let mut bytes = Vec::new();
        encode(&request, &mut bytes).expect("what was decoded can be encoded");
        let (again, length) = decode::<Request>(&bytes).expect("that is understood").expect("and whole");
        assert_eq!((again, length), (request.clone(), bytes.len()));
        let answer = lab.ask(request);
        bytes.clear();
        encode(&answer, &mut bytes).expect("an answer can be encoded");
        let (again, _) = decode::<Answer>(&bytes).expect("that is understood").expect("and whole");
        assert_eq!(again, answer);
        let then = lab.now + 700;
        lab.set_clock(then);
        lab.director.fleet().engine.check_invariants();
    }
    let _ = decode::<Answer>(data);
}

pub fn seeds() -> Vec<Vec<u8>> {
    // What a change of each kind, and a question of each kind, are as bytes.
    use crate::engine::tests::fuzz::any_change;
    use crate::table::Change;
    let mut seeds = Vec::new();
    let spelling: Vec<u8> = (0..40_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 16) as u8).collect();
    let mut u = arbitrary::Unstructured::new(&spelling);
    for _ in 0..120 {
        let mut bytes = Vec::new();
        for _ in 0..6 {
            let Ok(change) = any_change(&mut u) else { break };
            let request = match change {
                Change::AddService { key, config } => Request::AddService { key, config },
                Change::EditService { key, config } => Request::EditService { key, config },
                Change::DeleteService { key } => Request::DeleteService { key },
                Change::Flush => Request::Flush,
                Change::Zero { key } => Request::Zero { key },
                Change::AddDestination { service, key, config } => Request::AddDestination { service, key, config },
                Change::EditDestination { service, key, config } => Request::EditDestination { service, key, config },
                Change::DeleteDestination { service, key } => Request::DeleteDestination { service, key },
                // Control's own: nobody asks for it.
                Change::ForgetFormer { .. } => continue,
                Change::SetTimeouts { timeouts } => Request::SetTimeouts { timeouts },
                Change::SetSetting { name, value } => Request::SetSetting { name, value },
                Change::AddMark { rule } => Request::AddMark { rule },
                Change::DeleteMark { rule } => Request::DeleteMark { rule },
                Change::FlushMarks => Request::FlushMarks,
                Change::StartDaemon { config, .. } => Request::StartDaemon { config },
                Change::StopDaemon { role } => Request::StopDaemon { role },
            };
            encode(&request, &mut bytes).expect("a request can be encoded");
        }
        let questions = [
            Request::Info,
            Request::Services,
            Request::Timeouts,
            Request::Daemons,
            Request::Connections { cursor: 0 },
            Request::Totals,
            Request::Workers,
            Request::Settings { name: None },
            Request::Marks,
            Request::HelpedPorts,
            Request::Stats,
            Request::Status,
        ];
        questions.iter().for_each(|question| encode(question, &mut bytes).expect("a request can be encoded"));
        seeds.push(bytes);
    }
    seeds
}
