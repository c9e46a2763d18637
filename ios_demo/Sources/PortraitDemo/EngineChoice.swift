import PortraitKit
import PortraitToolkit

/// The package to run and what runs it.
struct EngineChoice {
    static let options = ["--package,-p", "--toolkit"]

    let package: String
    let toolkit: String

    init(_ arguments: Arguments) throws {
        package = try arguments.required("--package")
        toolkit = arguments.last("--toolkit") ?? "portrait-export"
    }

    func open() throws -> any SegmentationEngine {
        try PortraitExportEngine(package: package, toolkit: toolkit)
    }
}
