/// The inputs and outputs of a Core AI asset, as arrays.
public struct AssetInterface: Equatable, Sendable {
    /// The names of inputs and outputs of the toolkit's assets.
    public enum Name {
        /// The photo.
        public static let image = "image"
        /// The depth map of depth models.
        public static let depth = "depth"
        /// P(person), as bytes or floats.
        public static let mask = "mask"
        /// The network's own output.
        public static let logits = "logits"
    }

    /// The function that the toolkit's assets have.
    public static let function = "main"

    /// The output that is read: `mask`, or `logits` of assets that give nothing else.
    public let output: String

    /// Whether `output` holds logits, which become P(person) at the frame's size.
    public var givesLogits: Bool { output == Name.logits }

    /// Checks the names of an asset's inputs and outputs against its spec.
    ///
    /// - Throws: `PortraitError.engine` with what was found if it does not take or give what the spec says.
    public init(
        asset: String, inputs: [String], outputs: [String], spec: PortraitSpec
    ) throws(PortraitError) {
        let needed = [Name.image] + (spec.takesDepth ? [Name.depth] : [])
        let wanted = spec.output == .logits ? Name.logits : Name.mask
        guard inputs.sorted() == needed.sorted(), outputs.contains(wanted) else {
            throw PortraitError.engine(
                name: asset,
                reason: "it takes \(inputs.sorted()) and gives \(outputs.sorted());"
                    + " its PortraitSpec says that it takes \(needed.sorted()) and gives \(wanted).",
                hint: "Export it again with `portrait-export coreai`.")
        }
        output = wanted
    }

    /// The shape of the image input: (1, H, W, 3), 8-bit RGB.
    public static func imageShape(_ size: PixelSize) -> [Int] { [1, size.height, size.width, 3] }

    /// The shape of the depth input: (1, 1, H, W), floats.
    public static func depthShape(_ size: PixelSize) -> [Int] { [1, 1, size.height, size.width] }

    /// The mask of an output's memory.
    ///
    /// - Parameters:
    ///   - memory: begins with the first element.
    ///   - shape: of the output.
    ///   - strides: in elements.
    ///   - format: of an element.
    ///   - size: of the frame.
    /// - Returns: P(person) at the frame's size.
    /// - Throws: as `StridedSamples` throws, or `PortraitError.sizeMismatch` for a mask of another size.
    public func probability(
        from memory: UnsafeRawPointer, shape: [Int], strides: [Int], format: StridedSamples.Format, size: PixelSize
    ) throws(PortraitError) -> Plane {
        let samples = try StridedSamples(shape: shape, strides: strides, format: format)
        let plane = try samples.plane(from: UnsafeRawBufferPointer(start: memory, count: samples.byteCount))
        if givesLogits { return plane.probability(ofLogitsAt: size) }
        guard plane.size == size else {
            throw PortraitError.sizeMismatch(what: "mask", expected: size, found: plane.size)
        }
        return plane
    }
}
