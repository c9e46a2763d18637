#if canImport(CoreML) && canImport(Metal)
    import CoreML
    import CoreVideo
    import PortraitKit

    /// A frame that was drawn, and how long each step to it took.
    public struct DrawnFrame: Sendable {
        /// Rows and columns of the camera's frame.
        public let size: PixelSize
        /// How long bringing the frame to the network's input took.
        public let placing: Duration
        /// How long the network took.
        public let network: Duration
        /// How long drawing took, the GPU's work included.
        public let drawing: Duration
        /// Whether Core ML wrote the mask into a buffer of its own, although one was offered.
        public let copiesMask: Bool
        /// Whether the layer had room for the picture.
        public let isShown: Bool
    }

    extension CoreMLEngine {
        /// Draws the newest frame of a camera with its mask, without copying their pixels; a depth map is placed by the CPU.
        ///
        /// - Parameters:
        ///   - frames: where the camera puts its frames.
        ///   - renderer: what draws.
        ///   - look: what is drawn.
        /// - Returns: nil if no frame waits.
        /// - Throws: `PortraitError` of the engine, or of a depth map that is missing or not read.
        public func draw(
            _ frames: FrameSlot, on renderer: LiveRenderer, as look: LiveLook
        ) throws(PortraitError) -> DrawnFrame? {
            guard let frame = frames.take() else { return nil }
            let clock = ContinuousClock()
            let start = clock.now
            let size = PixelSize(
                height: CVPixelBufferGetHeight(frame.pixels), width: CVPixelBufferGetWidth(frame.pixels))
            let placement = Segmenter(engine: self).placement(of: size)
            let surfaces = try liveSurfaces(for: placement.frame)
            let input = try surfaces.frames.buffer()
            renderer.place(frame.pixels, by: placement, into: input)
            let depth = try placedDepth(of: frame, placement)
            let placed = clock.now
            let offered = try surfaces.masks.buffer()
            let mask = try mask(of: input, depth: depth, into: offered)
            let computed = clock.now
            let isShown = renderer.draw(frame.pixels, mask: mask, by: placement, as: look)
            return DrawnFrame(
                size: size, placing: placed - start, network: computed - placed, drawing: clock.now - computed,
                copiesMask: mask !== offered, isShown: isShown)
        }

        private func placedDepth(of frame: CameraFrame, _ placement: Placement) throws(PortraitError) -> Plane? {
            guard description.metadata.spec.takesDepth else { return nil }
            guard let depth = frame.depth else { throw PortraitError.depthMissing(model: description.package) }
            return try placement.depth(of: depth)
        }

        /// The mask of the network's input, in `offered` unless Core ML does not take it.
        private func mask(
            of input: CVPixelBuffer, depth: Plane?, into offered: CVPixelBuffer
        ) throws(PortraitError) -> CVPixelBuffer {
            let options = MLPredictionOptions()
            options.outputBackings = [output: offered]
            let value: MLFeatureValue?
            do {
                value = try model.prediction(from: features(pixels: input, depth: depth), options: options)
                    .featureValue(for: output)
            } catch {
                throw PortraitError.engine(name: description.package, reason: "\(error)", hint: "")
            }
            guard let mask = value?.imageBufferValue else {
                throw PortraitError.engine(name: description.package, reason: "it gives no \(output).", hint: "")
            }
            return mask
        }
    }
#endif
