/// A photo's mask and how long each step to it took.
public struct Segmentation: Equatable, Sendable {
    /// P(person) in 0..1 at the photo's size.
    public let mask: Plane
    /// P(person) in 0..1 at the network's input size.
    public let frameMask: Plane
    /// What the network saw.
    public let frame: Frame
    /// Where the photo is in the frame.
    public let placement: Placement
    /// How long bringing the photo to the network's input size took.
    public let placing: Duration
    /// How long the network took.
    public let network: Duration
    /// How long bringing the mask to the photo's size took.
    public let maskBack: Duration
}

/// Takes photos of any size through an engine.
public struct Segmenter: Sendable {
    /// What runs the network.
    public let engine: any SegmentationEngine

    /// Photos through `engine`.
    public init(engine: any SegmentationEngine) {
        self.engine = engine
    }

    /// Where a photo of a size is placed: at the package's input size that suits it, by the spec's resize policy.
    public func placement(of photo: PixelSize) -> Placement {
        let metadata = engine.description.metadata
        let frame = PixelSize.closest(to: photo, among: metadata.sizes) ?? metadata.spec.size
        return Placement(photo: photo, frame: frame, policy: metadata.spec.resize)
    }

    /// Segments one photo.
    ///
    /// - Parameters:
    ///   - photo: upright, sRGB, three channels.
    ///   - depth: exactly for models that read depth: covers what the photo covers, at any resolution.
    /// - Throws: `PortraitError` of the photo or of the engine.
    public func segment(_ photo: Picture, depth: Plane? = nil) async throws(PortraitError) -> Segmentation {
        let clock = ContinuousClock()
        let start = clock.now
        let placement = placement(of: photo.size)
        let frame = try Frame(image: placement.image(of: photo), depth: placed(depth, placement))
        let placed = clock.now
        let probability = try await engine.probability(of: frame)
        let computed = clock.now
        let mask = try placement.maskBack(probability)
        return Segmentation(
            mask: mask, frameMask: probability, frame: frame, placement: placement, placing: placed - start,
            network: computed - placed, maskBack: clock.now - computed
        )
    }

    private func placed(_ depth: Plane?, _ placement: Placement) throws(PortraitError) -> Plane? {
        let description = engine.description
        guard description.metadata.spec.takesDepth else {
            guard depth == nil else { throw PortraitError.depthNotRead(model: description.package) }
            return nil
        }
        guard let depth else { throw PortraitError.depthMissing(model: description.package) }
        return try placement.depth(of: depth)
    }
}

extension Segmentation {
    /// The mask at the photo's size, sharpened along the photo's edges.
    ///
    /// - Parameters:
    ///   - photo: the photo that was segmented.
    ///   - filter: the guided filter's settings.
    /// - Returns: P(person) in 0..1; 0 where the model did not see the photo.
    /// - Throws: `PortraitError.channels` or `.sizeMismatch`.
    public func refinedMask(along photo: Picture, by filter: GuidedFilter = GuidedFilter()) throws(PortraitError)
        -> Plane
    {
        guard photo.size == placement.photo else {
            throw PortraitError.sizeMismatch(what: "photo", expected: placement.photo, found: photo.size)
        }
        let seen = mask.cropped(to: placement.source)
        return try filter.addDetail(to: seen, along: photo.cropped(to: placement.source))
            .placed(at: placement.source, in: placement.photo)
    }

    /// The same segmentation with another mask of the frame, such as a smoothed one.
    ///
    /// - Throws: `PortraitError.sizeMismatch`.
    public func replacingMask(_ frameMask: Plane) throws(PortraitError) -> Segmentation {
        Segmentation(
            mask: try placement.maskBack(frameMask), frameMask: frameMask, frame: frame, placement: placement,
            placing: placing, network: network, maskBack: maskBack
        )
    }
}
