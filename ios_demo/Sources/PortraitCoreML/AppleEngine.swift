#if canImport(CoreML)
    import CoreML
    import Foundation
    import PortraitKit

    /// Opens a model by the framework that `EngineSelection` chooses.
    public enum AppleEngine {
        /// Whether Core AI can run here.
        public static var coreAISupport: EngineSelection.Support {
            #if canImport(CoreAI)
                if #available(iOS 27, macOS 27, *) { return .available }
                return .systemTooOld
            #else
                return .notInBuild
            #endif
        }

        /// Chooses a framework for a model and loads it.
        ///
        /// - Parameters:
        ///   - model: the model's name, for errors.
        ///   - package: its .mlpackage or .mlmodelc, if there is one.
        ///   - asset: its .aimodel, if there is one.
        ///   - wanted: the framework that is asked for.
        ///   - units: where the model may run.
        /// - Throws: `PortraitError.engine` if neither framework can run it, or as the engine throws.
        public static func open(
            _ model: String, package: URL?, asset: URL?, wanting wanted: EngineSelection.Framework = .coreML,
            units: MLComputeUnits = .all
        ) async throws(PortraitError) -> (engine: any SegmentationEngine, selection: EngineSelection) {
            let selection = try EngineSelection(
                wanting: wanted, model: model, hasPackage: package != nil, hasAsset: asset != nil,
                support: coreAISupport)
            #if canImport(CoreAI)
                if #available(iOS 27, macOS 27, *), selection.framework == .coreAI, let asset {
                    return (try await CoreAIEngine(contentsOf: asset, units: units), selection)
                }
            #endif
            guard let package else {
                throw PortraitError.engine(name: model, reason: "it has no package.", hint: "")
            }
            return (try await CoreMLEngine(contentsOf: package, units: units), selection)
        }
    }
#endif
