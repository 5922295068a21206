//! The `ulvs` binary: dispatch, nothing else.

fn main() -> std::process::ExitCode {
    ulvs::command::main()
}
