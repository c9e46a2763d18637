#if canImport(CoreAI) && canImport(CoreML)
    import CoreAI
    import CoreML
    import Foundation
    import PortraitKit

    // The calls are those of developer.apple.com/documentation/coreai (iOS 27): `AIModel.init(contentsOf:options:)`,
    // `InferenceFunction.run(inputs:states:outputViews:)`, `NDArray.View.withUnsafePointer(_:)`, and as
    // apple/coreai-models uses them. It is type-checked against Stubs/CoreAI and has not been run: there is no Core AI
    // for Swift on Linux, nor in the simulator.

    /// Runs a Core AI asset. An inference function may be called from several tasks at once.
    @available(iOS 27, macOS 27, *)
    public struct CoreAIEngine: SegmentationEngine {
        /// The asset as its metadata describe it.
        public let description: EngineDescription
        private let function: InferenceFunction
        private let interface: AssetInterface

        /// Loads an asset.
        ///
        /// The first load on a device specializes it, which takes time; Core AI keeps the result.
        ///
        /// - Parameters:
        ///   - url: a .aimodel.
        ///   - units: where the model may run. Core AI takes a preference: what the preferred unit cannot run, others do.
        /// - Throws: `PortraitError.engine` if Core AI refuses it or it is not a segmentation asset, or as
        ///   `PackageMetadata` throws.
        public init(contentsOf url: URL, units: MLComputeUnits = .all) async throws(PortraitError) {
            let name = url.deletingPathExtension().lastPathComponent
            let metadata: PackageMetadata
            let loaded: InferenceFunction?
            do {
                let file = url.appendingPathComponent(PackageMetadata.assetFileName)
                metadata = try PackageMetadata(assetMetadata: Data(contentsOf: file), name: name)
                let model = try await AIModel(contentsOf: url, options: units.specialization)
                loaded = try model.loadFunction(named: AssetInterface.function)
            } catch let error as PortraitError {
                throw error
            } catch {
                throw PortraitError.engine(name: name, reason: "Core AI does not load it: \(error)", hint: "")
            }
            guard let loaded else {
                throw PortraitError.engine(
                    name: name, reason: "it has no function \(AssetInterface.function).",
                    hint: "Export it again with `portrait-export coreai`.")
            }
            function = loaded
            interface = try AssetInterface(
                asset: name, inputs: loaded.descriptor.inputNames, outputs: loaded.descriptor.outputNames,
                spec: metadata.spec)
            description = EngineDescription(
                package: name, runtime: "Core AI, \(units.preference)", metadata: metadata)
        }

        /// P(person) of a frame, read from the asset's output through its strides.
        public func probability(of frame: Frame) async throws(PortraitError) -> Plane {
            do {
                var outputs = try await function.run(inputs: Self.inputs(of: frame))
                guard let value = outputs.remove(interface.output), let array = value.ndArray else {
                    throw failure("it gives no array \(interface.output).")
                }
                return try plane(of: array, size: frame.image.size)
            } catch let error as PortraitError {
                throw error
            } catch {
                throw failure("\(error)")
            }
        }

        private static func inputs(of frame: Frame) -> [String: NDArray] {
            let size = frame.image.size
            let image = NDArray(scalars: frame.image.samples, shape: AssetInterface.imageShape(size))
            var inputs = [AssetInterface.Name.image: image]
            if let depth = frame.depth {
                let array = NDArray(scalars: depth.values, shape: AssetInterface.depthShape(size))
                inputs[AssetInterface.Name.depth] = array
            }
            return inputs
        }

        private func plane(of array: NDArray, size: PixelSize) throws(PortraitError) -> Plane {
            switch array.scalarType {
            case .uint8: return try plane(of: array.view(as: UInt8.self), .uint8, size)
            case .float32: return try plane(of: array.view(as: Float.self), .float32, size)
            default:
                throw failure("\(interface.output) holds \(array.scalarType); 8-bit integers or floats are needed.")
            }
        }

        private func plane<Element>(
            of view: borrowing NDArray.View<Element>, _ format: StridedSamples.Format, _ size: PixelSize
        ) throws(PortraitError) -> Plane {
            guard view.interleaveLayout == nil else { throw failure("\(interface.output) is interleaved.") }
            return try view.withUnsafePointer { (memory, shape, strides) throws(PortraitError) in
                try interface.probability(
                    from: UnsafeRawPointer(memory), shape: shape.indices.map { shape[$0] },
                    strides: strides.indices.map { strides[$0] }, format: format, size: size)
            }
        }

        private func failure(_ reason: String) -> PortraitError {
            .engine(name: description.package, reason: reason, hint: "")
        }
    }

    @available(iOS 27, macOS 27, *)
    extension MLComputeUnits {
        /// Core AI's options that come nearest to Core ML's units.
        fileprivate var specialization: SpecializationOptions {
            switch self {
            case .cpuOnly: return .cpuOnly
            case .cpuAndGPU: return SpecializationOptions(preferredComputeUnitKind: .gpu)
            case .cpuAndNeuralEngine: return SpecializationOptions(preferredComputeUnitKind: .neuralEngine)
            default: return .default
            }
        }

        /// The same in words.
        fileprivate var preference: String {
            switch self {
            case .cpuOnly: return "CPU"
            case .cpuAndGPU: return "GPU preferred"
            case .cpuAndNeuralEngine: return "Neural Engine preferred"
            default: return "all units"
            }
        }
    }
#endif
