import Foundation

/// Any JSON value. `JSONDecoder` reads numbers to the last bit, which `JSONSerialization` does not do everywhere.
enum JSONValue: Decodable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    /// The number, if it is one and finite.
    var number: Double? {
        guard case .number(let value) = self, value.isFinite else { return nil }
        return value
    }

    /// The text, if it is one.
    var string: String? {
        guard case .string(let value) = self else { return nil }
        return value
    }

    /// The elements, if it is an array.
    var array: [JSONValue]? {
        guard case .array(let values) = self else { return nil }
        return values
    }
}

extension JSONValue: CustomStringConvertible {
    /// The value as JSON has it, in one line.
    var description: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return "\(value)"
        case .number(let value): return "\(value)"
        case .string(let value): return "\"\(value)\""
        case .array(let values): return "[\(values.map(\.description).joined(separator: ", "))]"
        case .object(let values): return "an object of \(values.count) keys"
        }
    }
}

/// Takes values out of a spec's JSON and collects everything that is wrong with them.
struct SpecReader {
    private let values: [String: JSONValue]
    private var faults: [String] = []

    init(json: String, keys: [String]) throws(SpecError) {
        let decoded = try? JSONDecoder().decode([String: JSONValue].self, from: Data(json.utf8))
        guard let decoded else { throw SpecError.notJSON(found: String(json.prefix(40))) }
        let unknown = decoded.keys.filter { !keys.contains($0) }.sorted()
        let missing = keys.filter { decoded[$0] == nil }
        guard unknown.isEmpty, missing.isEmpty else { throw SpecError.keys(unknown: unknown, missing: missing) }
        values = decoded
    }

    /// Throws if any value could not be used.
    func finish() throws(SpecError) {
        guard faults.isEmpty else { throw SpecError.values(faults) }
    }

    mutating func integer(_ key: String, in range: ClosedRange<Int>) -> Int {
        if let number = values[key]?.number, let whole = Int(exactly: number), range.contains(whole) { return whole }
        note(key, "a whole number within \(range.lowerBound)..\(range.upperBound)")
        return range.lowerBound
    }

    mutating func number(_ key: String) -> Double {
        if let number = values[key]?.number { return number }
        note(key, "a number")
        return 0
    }

    mutating func numbers(_ key: String, above limit: Double = -.infinity) -> [Double] {
        let elements = values[key]?.array ?? []
        let found = elements.compactMap(\.number)
        if elements.count == 3, found.count == 3, found.allSatisfy({ $0 > limit }) { return found }
        note(key, limit.isFinite ? "three numbers above \(Int(limit))" : "three numbers")
        return []
    }

    mutating func choice<Choice>(_ key: String, default fallback: Choice) -> Choice
    where Choice: RawRepresentable<String> & CaseIterable {
        if let text = values[key]?.string, let choice = Choice(rawValue: text) { return choice }
        note(key, "one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
        return fallback
    }

    mutating func inputs(_ key: String) -> [PortraitSpec.Input] {
        let names = values[key]?.array?.map(\.string)
        if names == ["image"] { return [.image] }
        if names == ["image", "depth"] { return [.image, .depth] }
        note(key, "[\"image\"] or [\"image\", \"depth\"]")
        return []
    }

    private mutating func note(_ key: String, _ needed: String) {
        let found = values[key].map { "\($0)" } ?? "nothing"
        faults.append("\(key) must be \(needed), found \(found).")
    }
}
