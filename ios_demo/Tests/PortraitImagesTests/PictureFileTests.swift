import Foundation
import PortraitImages
import PortraitKit
import Testing

@Suite struct PictureFileTests {
    private let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    private func path(_ name: String) -> String { folder.appendingPathComponent(name).path }

    private func picture(channels: Int) throws -> Picture {
        let size = PixelSize(height: 12, width: 17)
        let samples = (0..<(size.pixelCount * channels)).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ $0 / 5) }
        return try Picture(size: size, channels: channels, samples: samples)
    }

    @Test func aPNGComesBackAsItWas() throws {
        let colors = try picture(channels: 3)
        try PictureFile.write(colors, to: path("colors.png"))
        let (read, notes) = try PictureFile.photo(at: path("colors.png"))
        #expect(read == colors)
        #expect(notes.isEmpty)
    }

    @Test func grayBecomesThreeEqualChannelsAndADepthMap() throws {
        let gray = try picture(channels: 1)
        try PictureFile.write(gray, to: path("gray.png"))
        #expect(try PictureFile.photo(at: path("gray.png")).picture.samples == gray.samples.flatMap { [$0, $0, $0] })
        #expect(try PictureFile.depth(at: path("gray.png")).values == gray.samples.map { Float($0) / 255 })
    }

    @Test func aJPEGComesBackNearly() throws {
        let size = PixelSize(height: 16, width: 16)
        let slope = (0..<256).flatMap { level -> [UInt8] in [UInt8(level), UInt8(255 - level), 128] }
        let picture = try Picture(size: size, channels: 3, samples: slope)
        try PictureFile.write(picture, to: path("slope.jpg"))
        let read = try PictureFile.photo(at: path("slope.jpg")).picture
        #expect(zip(read.samples, slope).allSatisfy { abs(Int($0) - Int($1)) <= 12 })
    }

    @Test func whatCannotBeReadOrWrittenIsRefused() throws {
        #expect(throws: PictureFileError.self) { try PictureFile.photo(at: path("missing.png")) }
        try Data("GIF89a, more or less".utf8).write(to: folder.appendingPathComponent("x.gif"))
        #expect(throws: PictureFileError.unknownKind(path: path("x.gif"), firstBytes: Array("GIF89a, ".utf8))) {
            try PictureFile.photo(at: path("x.gif"))
        }
        let transparent = try picture(channels: 4)
        try PictureFile.write(transparent, to: path("whole.png"))
        let whole = try Data(contentsOf: folder.appendingPathComponent("whole.png"))
        for count in [8, 20, whole.count / 2] {
            try whole.prefix(count).write(to: folder.appendingPathComponent("half.png"))
            #expect(throws: PictureFileError.self) { try PictureFile.photo(at: path("half.png")) }
        }
        #expect(throws: PictureFileError.depthHasColor(path: path("whole.png"), channels: 4)) {
            try PictureFile.depth(at: path("whole.png"))
        }
        #expect(throws: PictureFileError.self) { try PictureFile.write(transparent, to: path("x.jpg")) }
        #expect(throws: PictureFileError.self) { try PictureFile.write(transparent, to: path("x.webp")) }
    }
}
