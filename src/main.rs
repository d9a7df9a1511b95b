fn main() -> std::process::ExitCode {
    torrens::cli::main()
}
