#if canImport(CoreML)
    import CoreML
    import CoreVideo
    import Foundation
    import PortraitKit

    /// Runs a package by Core ML.
    ///
    /// The model is not Sendable, so it stays inside the actor, whose work runs on a queue of its own.
    public actor CoreMLEngine: SegmentationEngine {
        /// The package as its metadata describe it.
        public nonisolated let description: EngineDescription
        /// Whether `draw` can be used: the package's output is an image.
        public nonisolated var drawsWithoutCopies: Bool { maskFormat != nil }
        let model: MLModel
        let output: String
        private let imageInput: String
        private nonisolated let maskFormat: OSType?
        private var surfaces: LiveSurfaces?
        private let queue = QueueExecutor(label: "CoreMLEngine")

        /// The actor's own queue, since a prediction blocks.
        public nonisolated var unownedExecutor: UnownedSerialExecutor { queue.asUnownedSerialExecutor() }

        /// Compiles a package where that has not been done yet, and loads it.
        ///
        /// The first load on a device prepares the model for its accelerator, which takes seconds to minutes; `warmUp`
        /// brings it forward. An update of the system discards what was prepared.
        ///
        /// - Parameters:
        ///   - url: a .mlpackage, or a .mlmodelc as Xcode compiles it into an app.
        ///   - units: where the model may run.
        /// - Throws: `PortraitError.engine` if Core ML refuses it or it is not a segmentation package, or as
        ///   `PackageMetadata` throws.
        public init(contentsOf url: URL, units: MLComputeUnits = .all) async throws(PortraitError) {
            let name = url.deletingPathExtension().lastPathComponent
            do {
                let compiled = try await CompiledModels.compiled(url)
                let configuration = MLModelConfiguration()
                configuration.computeUnits = units
                model = try await MLModel.load(contentsOf: compiled, configuration: configuration)
            } catch {
                throw PortraitError.engine(name: name, reason: "Core ML does not load it: \(error)", hint: "")
            }
            let interface = model.modelDescription
            let images = interface.inputDescriptionsByName.filter { $0.value.type == .image }.keys.sorted()
            let outputs = interface.outputDescriptionsByName.keys
            guard images.count == 1, let output = Self.maskOutput(outputs.sorted()) else {
                throw PortraitError.engine(
                    name: name, reason: "it takes \(images) as images and gives \(outputs.sorted()).",
                    hint: "One image input and an output named mask or logits are needed.")
            }
            imageInput = images[0]
            self.output = output
            maskFormat = interface.outputDescriptionsByName[output]?.imageConstraint?.pixelFormatType
            let stored = interface.metadata[MLModelMetadataKey.creatorDefinedKey] as? [String: String]
            description = EngineDescription(
                package: name, runtime: "Core ML, \(units.label)",
                metadata: try PackageMetadata(userDefined: stored ?? [:]))
        }

        /// P(person) of a frame, read from the package's output through its strides.
        public func probability(of frame: Frame) async throws(PortraitError) -> Plane {
            let value: MLFeatureValue?
            do {
                value = try predicted(frame)
            } catch let error as PortraitError {
                throw error
            } catch {
                throw PortraitError.engine(name: description.package, reason: "\(error)", hint: "")
            }
            if let buffer = value?.imageBufferValue { return try buffer.maskPlane() }
            guard let array = value?.multiArrayValue else {
                throw PortraitError.engine(name: description.package, reason: "it gives no \(output).", hint: "")
            }
            let plane = try array.maskPlane()
            return output == Self.logits ? plane.probability(ofLogitsAt: frame.image.size) : plane
        }

        /// Not async, so that Core ML's blocking call is chosen: the other would take the model out of the actor.
        private func predicted(_ frame: Frame) throws -> MLFeatureValue? {
            let features = try features(pixels: CVPixelBuffer.bgra(frame.image), depth: frame.depth)
            return try model.prediction(from: features, options: MLPredictionOptions()).featureValue(for: output)
        }

        /// Surfaces for frames of a size, made when the size changes.
        ///
        /// - Throws: `PortraitError.engine` if the package's output is not an image.
        func liveSurfaces(for size: PixelSize) throws(PortraitError) -> LiveSurfaces {
            if let surfaces, surfaces.frames.size == size { return surfaces }
            guard let maskFormat else {
                throw PortraitError.engine(
                    name: description.package, reason: "its output \(output) is not an image.",
                    hint: "Export it with `--output mask`, or use `probability(of:)`.")
            }
            let made = try LiveSurfaces(size: size, maskFormat: maskFormat)
            surfaces = made
            return made
        }

        /// The model's inputs: 32BGRA pixels and, for depth models, a depth map of the same size.
        func features(pixels: CVPixelBuffer, depth: Plane?) throws -> MLDictionaryFeatureProvider {
            var values = [imageInput: MLFeatureValue(pixelBuffer: pixels)]
            if let depth {
                values["depth"] = MLFeatureValue(multiArray: try MLMultiArray.depth(depth))
            }
            return try MLDictionaryFeatureProvider(dictionary: values)
        }

        private static let logits = "logits"

        /// The output that is the mask: `mask`, else `logits`, else the only one.
        private static func maskOutput(_ names: [String]) -> String? {
            ["mask", logits].first(where: names.contains) ?? (names.count == 1 ? names.first : nil)
        }
    }

    extension MLComputeUnits {
        /// The units in words.
        var label: String {
            switch self {
            case .cpuOnly: return "CPU"
            case .cpuAndGPU: return "CPU and GPU"
            case .cpuAndNeuralEngine: return "CPU and Neural Engine"
            case .all: return "all units"
            @unknown default: return "units \(rawValue)"
            }
        }
    }
#endif
