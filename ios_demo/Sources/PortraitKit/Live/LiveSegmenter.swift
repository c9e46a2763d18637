/// A mask of one camera frame and what is shown beside it.
public struct LiveMask: Sendable {
    /// The camera frame.
    public let photo: Picture
    /// P(person) in 0..1 at the frame's size.
    public let mask: Plane
    /// Whether the frame began another scene, so that nothing was carried over from the one before.
    public let startsScene: Bool
    /// How long each step took over the last frames.
    public let latencies: StepLatencies
}

/// Takes the frames of a camera through an engine, one after the other.
///
/// Call `mask` again only when the one before has returned: the caller drops the frames that arrive meanwhile.
public actor LiveSegmenter {
    /// What is done to masks.
    public struct Settings: Equatable, Sendable {
        /// Masks keep still where the picture does.
        public var smooths = true
        /// Masks follow the edges of the picture.
        public var refines = false

        /// Smoothed masks, not refined.
        public init(smooths: Bool = true, refines: Bool = false) {
            self.smooths = smooths
            self.refines = refines
        }
    }

    private let segmenter: Segmenter
    private var smoother = TemporalSmoother()
    private var latencies: StepLatencies

    /// Frames through `engine`, with statistics over the last `window` frames.
    public init(engine: any SegmentationEngine, window: Int = 120) {
        segmenter = Segmenter(engine: engine)
        latencies = StepLatencies(window: window)
    }

    /// The mask of the next frame.
    ///
    /// - Parameters:
    ///   - photo: upright, sRGB, three channels.
    ///   - depth: exactly for models that read depth: covers what the photo covers, at any resolution.
    ///   - settings: what is done to the mask.
    /// - Throws: as `Segmenter.segment`.
    public func mask(
        of photo: Picture, depth: Plane? = nil, _ settings: Settings = Settings()
    ) async throws(PortraitError) -> LiveMask {
        var found = try await segmenter.segment(photo, depth: depth)
        latencies.record("frame", found.placing)
        latencies.record("network", found.network)
        latencies.record("mask", found.maskBack)
        var startsScene = false
        let clock = ContinuousClock()
        if settings.smooths {
            let start = clock.now
            let smoothed = try smoother.smooth(found.frameMask, of: found.frame.image)
            found = try found.replacingMask(smoothed.mask)
            startsScene = smoothed.startsScene
            latencies.record("smoothing", clock.now - start)
        } else {
            smoother.reset()
        }
        var mask = found.mask
        if settings.refines {
            let start = clock.now
            mask = try found.refinedMask(along: photo)
            latencies.record("refinement", clock.now - start)
        }
        return LiveMask(photo: photo, mask: mask, startsScene: startsScene, latencies: latencies)
    }
}
