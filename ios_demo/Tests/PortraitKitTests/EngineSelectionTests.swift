import Testing

@testable import PortraitKit

@Suite struct EngineSelectionTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let name: String
        let wanted: EngineSelection.Framework
        let package, asset: Bool
        let support: EngineSelection.Support
        let framework: EngineSelection.Framework
        let reason: EngineSelection.Reason

        var testDescription: String { name }
    }

    @Test(arguments: [
        Row(
            name: "core_ml_is_used_although_there_is_an_asset", wanted: .coreML, package: true, asset: true,
            support: .available, framework: .coreML, reason: .wanted),
        Row(
            name: "core_ai_runs_the_asset", wanted: .coreAI, package: true, asset: true, support: .available,
            framework: .coreAI, reason: .wanted),
        Row(
            name: "core_ml_stands_in_without_an_asset", wanted: .coreAI, package: true, asset: false,
            support: .available, framework: .coreML, reason: .noAsset),
        Row(
            name: "core_ml_stands_in_before_ios_27", wanted: .coreAI, package: true, asset: true,
            support: .systemTooOld, framework: .coreML, reason: .systemTooOld),
        Row(
            name: "core_ml_stands_in_in_the_simulator", wanted: .coreAI, package: true, asset: false,
            support: .notInBuild, framework: .coreML, reason: .notInBuild),
        Row(
            name: "core_ai_stands_in_without_a_package", wanted: .coreML, package: false, asset: true,
            support: .available, framework: .coreAI, reason: .noPackage),
        Row(
            name: "core_ai_needs_no_package", wanted: .coreAI, package: false, asset: true, support: .available,
            framework: .coreAI, reason: .wanted),
    ])
    func frameworkAndReason(_ row: Row) throws {
        let found = try EngineSelection(
            wanting: row.wanted, model: "net", hasPackage: row.package, hasAsset: row.asset, support: row.support)
        #expect(found.framework == row.framework)
        #expect(found.reason == row.reason)
    }

    @Test(arguments: [
        (true, EngineSelection.Support.systemTooOld, "Core AI needs iOS 27."),
        (true, .notInBuild, "this build has no Core AI."),
        (false, .available, "there is no .aimodel of it."),
    ])
    func nothingThatCanRunIsAnError(asset: Bool, support: EngineSelection.Support, words: String) throws {
        for wanted in EngineSelection.Framework.allCases {
            let error = try #require(throws: PortraitError.self) {
                try EngineSelection(wanting: wanted, model: "net", hasPackage: false, hasAsset: asset, support: support)
            }
            #expect(
                "\(error)"
                    == "net: there is no .mlpackage of it, and \(words) Add net.mlpackage to the app and build it again."
            )
        }
    }
}
