import Foundation

/// How a photo becomes a model's input and its output a mask, as the toolkit writes it into every package.
///
/// It mirrors Python's `PortraitSpec`; `init(json:)` accepts exactly what `PortraitSpec.to_json` writes.
public struct PortraitSpec: Equatable, Sendable {
    /// The channel order that the network was trained on.
    public enum ChannelOrder: String, CaseIterable, Sendable { case rgb, bgr }

    /// How a photo of another shape is brought to the input size.
    public enum ResizePolicy: String, CaseIterable, Sendable {
        /// The whole photo, its aspect ratio ignored.
        case stretch
        /// The whole photo, centred on black padding.
        case fit
        /// The middle of the photo, covering the frame.
        case fill
        /// As `fill`, but a photo smaller than the frame is padded, never enlarged.
        case crop
    }

    /// What the package gives.
    public enum Output: String, CaseIterable, Sendable {
        /// An 8-bit grayscale image, 255 = person.
        case mask
        /// P(person) as an array of floats.
        case multiarray
        /// The network's logits.
        case logits
    }

    /// The class that the network's own logits are about.
    public enum PositiveClass: String, CaseIterable, Sendable { case person, background }

    /// What the network reads.
    public enum Input: String, CaseIterable, Sendable { case image, depth }

    /// The network's input size in pixels.
    public let size: PixelSize
    /// The channel order of the network's input.
    public let color: ChannelOrder
    /// What a 0..255 pixel is multiplied with before `mean` and `std` apply.
    public let scale: Double
    /// Subtracted per channel, in the units of `pixel * scale`; three values.
    public let mean: [Double]
    /// Divided by per channel; three values above 0.
    public let std: [Double]
    /// How a photo is brought to the input size.
    public let resize: ResizePolicy
    /// What the network reads: the image, and a depth map for depth models.
    public let inputs: [Input]
    /// What the package gives.
    public let output: Output
    /// The class that the network's logits are about; masks are always about the person.
    public let positive: PositiveClass
    /// P(person) from which a pixel is person, 0..1.
    public let threshold: Double

    /// Whether the network reads a depth map beside the image.
    public var takesDepth: Bool { inputs.contains(.depth) }

    /// Every key of the JSON, sorted.
    static let keys = [
        "color", "height", "inputs", "mean", "output", "positive", "resize", "scale", "std", "threshold", "width",
    ]
    static let sideRange = 1...16384

    /// Reads the JSON of `PortraitSpec.to_json`.
    ///
    /// - Throws: `SpecError` with every key that is unknown, missing or holds a value outside of what is allowed.
    public init(json: String) throws(SpecError) {
        var reader = try SpecReader(json: json, keys: Self.keys)
        size = PixelSize(
            height: reader.integer("height", in: Self.sideRange),
            width: reader.integer("width", in: Self.sideRange)
        )
        color = reader.choice("color", default: .rgb)
        scale = reader.number("scale")
        mean = reader.numbers("mean")
        std = reader.numbers("std", above: 0)
        resize = reader.choice("resize", default: .stretch)
        inputs = reader.inputs("inputs")
        output = reader.choice("output", default: .mask)
        positive = reader.choice("positive", default: .person)
        threshold = reader.number("threshold")
        try reader.finish()
    }
}

/// Why a text is not a PortraitSpec.
public enum SpecError: Error, Equatable, Sendable {
    /// The text is not a JSON object.
    case notJSON(found: String)
    /// Keys that are unknown or missing, each list sorted.
    case keys(unknown: [String], missing: [String])
    /// Keys whose values cannot be used, one sentence each.
    case values([String])
}

extension SpecError: CustomStringConvertible {
    /// One sentence: what was expected and what was found.
    public var description: String {
        switch self {
        case .notJSON(let found):
            return "This is not a PortraitSpec: a JSON object is needed, found \(found)."
        case .keys(let unknown, let missing):
            let parts = [("unknown", unknown), ("missing", missing)].filter { !$0.1.isEmpty }
            let text = parts.map { "\($0.0) fields \($0.1.joined(separator: ", "))" }.joined(separator: "; ")
            return "This is not a PortraitSpec: \(text)."
        case .values(let sentences):
            return "This is not a PortraitSpec: \(sentences.joined(separator: " "))"
        }
    }
}
