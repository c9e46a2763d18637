/// The framework that runs a model, and why.
///
/// A model may be in an app as a Core ML package, as a Core AI asset, or as both. Core ML is the default: it runs on
/// every system of the app.
public struct EngineSelection: Equatable, Sendable {
    /// Apple's frameworks that run networks.
    public enum Framework: String, CaseIterable, Sendable {
        case coreML, coreAI
    }

    /// Whether Core AI can run here.
    public enum Support: Equatable, Sendable {
        case available
        /// The system is older than iOS 27.
        case systemTooOld
        /// The SDK has no Core AI, as the simulator's has none.
        case notInBuild
    }

    /// Why a framework was chosen.
    public enum Reason: Equatable, Sendable {
        /// It was wanted, and it can run.
        case wanted
        /// Core AI was wanted, and there is no asset.
        case noAsset
        /// Core ML was wanted, and there is no package.
        case noPackage
        /// Core AI was wanted, and the system is older than iOS 27.
        case systemTooOld
        /// Core AI was wanted, and the app was built without it.
        case notInBuild
    }

    /// What runs the model.
    public let framework: Framework
    /// Why.
    public let reason: Reason

    /// Chooses a framework.
    ///
    /// - Parameters:
    ///   - wanted: what the user or the app asks for.
    ///   - model: the model's name, for the error.
    ///   - hasPackage: whether there is a Core ML package of the model.
    ///   - hasAsset: whether there is a Core AI asset of it.
    ///   - support: whether Core AI can run here.
    /// - Throws: `PortraitError.engine` if neither can run it.
    public init(
        wanting wanted: Framework, model: String, hasPackage: Bool, hasAsset: Bool, support: Support
    ) throws(PortraitError) {
        let obstacle = Self.obstacle(hasAsset: hasAsset, support: support)
        switch (wanted, hasPackage, obstacle) {
        case (.coreAI, _, nil): (framework, reason) = (.coreAI, .wanted)
        case (.coreAI, true, .some(let obstacle)): (framework, reason) = (.coreML, obstacle)
        case (.coreML, true, _): (framework, reason) = (.coreML, .wanted)
        case (.coreML, false, nil): (framework, reason) = (.coreAI, .noPackage)
        case (_, false, .some(let obstacle)):
            throw PortraitError.engine(
                name: model, reason: "there is no .mlpackage of it, and \(Self.sentence(obstacle))",
                hint: "Add \(model).mlpackage to the app and build it again.")
        }
    }

    private static func obstacle(hasAsset: Bool, support: Support) -> Reason? {
        switch support {
        case .notInBuild: return .notInBuild
        case .systemTooOld: return .systemTooOld
        case .available: return hasAsset ? nil : .noAsset
        }
    }

    private static func sentence(_ obstacle: Reason) -> String {
        switch obstacle {
        case .systemTooOld: return "Core AI needs iOS 27."
        case .notInBuild: return "this build has no Core AI."
        default: return "there is no .aimodel of it."
        }
    }
}
