/// A command line that cannot be used: what was found and what would be valid.
struct UsageError: Error, CustomStringConvertible {
    let description: String
}

/// Words of a command line sorted into positional ones, options with values and flags.
struct Arguments {
    private(set) var words: [String] = []
    private var values: [String: [String]] = [:]
    private var flags: Set<String> = []

    /// - Parameters:
    ///   - arguments: the words after the command.
    ///   - options: names of options that take a value, `--out` for one; an alias follows after a comma: `--out,-o`.
    ///   - flags: names of options that do not.
    init(_ arguments: [String], options: [String], flags: [String]) throws {
        var rest = arguments[...]
        var onlyWords = false
        while let argument = rest.popFirst() {
            if onlyWords || !argument.hasPrefix("-") || argument == "-" {
                words.append(argument)
            } else if argument == "--" {
                onlyWords = true
            } else if flags.contains(argument) {
                self.flags.insert(argument)
            } else if let option = options.first(where: { $0.split(separator: ",").contains(argument[...]) }) {
                guard let value = rest.popFirst() else { throw UsageError(description: "\(argument) needs a value.") }
                values[Self.name(option), default: []].append(value)
            } else {
                let known = (options.map(Self.name) + flags).joined(separator: ", ")
                throw UsageError(description: "There is no option \(argument); the options are \(known).")
            }
        }
    }

    func has(_ flag: String) -> Bool { flags.contains(flag) }

    /// Every value of an option, in order.
    func all(_ option: String) -> [String] { values[option] ?? [] }

    /// The last value of an option.
    func last(_ option: String) -> String? { values[option]?.last }

    func required(_ option: String) throws -> String {
        guard let value = last(option) else { throw UsageError(description: "\(option) is missing.") }
        return value
    }

    /// A number of at least `least`.
    func number(_ option: String, atLeast least: Double = 0) throws -> Double? {
        guard let text = last(option) else { return nil }
        guard let number = Double(text), number.isFinite, number >= least else {
            throw UsageError(description: "\(option) takes a number of at least \(least); found \(text).")
        }
        return number
    }

    private static func name(_ option: String) -> String {
        String(option.prefix { $0 != "," })
    }
}
