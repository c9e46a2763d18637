import Foundation
import PortraitCoreML
import PortraitKit
import PortraitToolkit

/// The package to run and what runs it: Core ML where there is one and no toolkit is named, else the toolkit.
struct EngineChoice {
    static let options = ["--package,-p", "--toolkit"]

    let package: String
    let toolkit: String?

    init(_ arguments: Arguments) throws {
        package = try arguments.required("--package")
        toolkit = arguments.last("--toolkit")
    }

    func open() async throws -> any SegmentationEngine {
        #if canImport(CoreML)
            if toolkit == nil { return try await CoreMLEngine(contentsOf: URL(fileURLWithPath: package)) }
        #endif
        return try PortraitExportEngine(package: package, toolkit: toolkit ?? "portrait-export")
    }
}
